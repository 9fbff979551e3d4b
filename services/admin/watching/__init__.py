"""What operators watch: uploads in progress, samples for plots, events."""
