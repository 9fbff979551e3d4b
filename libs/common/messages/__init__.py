"""Every message on the bus, each beside its subject and the type of its reply; a module for what belongs together (docs/subjects.md).

Rules: a new field has a default; an unknown field is ignored; nothing here holds a token or a key that is not the subject
of the message.
"""
