"""Any cloud that apache-libcloud has a driver for which hands user data to a machine (docs/libcloud.md)."""
