"""Who may do what: roles, passwords as they are set, and who acts at this moment. Pure."""
