"""Results: downloads and pages, relayed from nodes or sent on to where they lie."""
