"""What the web reads of the cluster, for `/api/v1` and for pages alike. What changes something is a command (admin/commands)."""
