"""Uploads: init, files, commit; or all of it in one request. What nobody goes on with expires."""
