"""The words `token` and `tenant`: their grammar, and what each does."""
