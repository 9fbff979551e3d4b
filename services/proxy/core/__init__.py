"""What the proxy decides: pure functions and values. No await, no clock, no random, no log; time is an argument."""
