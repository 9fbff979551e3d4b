"""The words about the file of tokens, as shells complete them. What they do is read in tokens/api/grammar.py, and a test compares both."""

from typing import Final

from clusterodm.services.admin.cli.core.arguments import Argument, Noun, Verb

FILE_FLAGS: Final = (
    Argument("--json", "print JSON", switch=True),
    Argument("--tokens", "the file of tokens", shown="FILE", completes="file"),
    Argument("--data-dir", "the data directory, whose tokens.json it is", shown="DIR", completes="file"),
)
LIMIT_FLAGS: Final = (
    Argument("--weight", "share of the slots against other tenants that wait"),
    Argument("--priority", "who goes first, whatever the weights"),
    Argument("--max-images", "images of one task"),
    Argument("--task-size", "size of one task, as 50GB"),
    Argument("--tasks-at-once", "tasks under way at once"),
    Argument("--storage", "all files kept, as 1TB"),
    Argument("--options", "JSON with limits of options", completes="file"),
    Argument("--labels", "its tasks go only to nodes with all of these labels"),
)
EXPIRES: Final = Argument("--expires", "after so long it counts no more, as 90d")
TOKEN_ID: Final = Argument("id", "id of a token, or its beginning")
TENANT_NAME: Final = Argument("tenant")
FILE_NOUNS: Final = (
    Noun(
        "token",
        "the tokens of clients, in a file",
        (
            Verb(
                "create",
                "make a token",
                (
                    TENANT_NAME,
                    *LIMIT_FLAGS,
                    EXPIRES,
                    Argument("--note", "what it is for"),
                    Argument("--token-file", "take over a token that is in use", completes="file"),
                ),
            ),
            Verb("list", "list the tokens"),
            Verb("revoke", "let tokens count no more", (TOKEN_ID, Argument("--tenant", "all tokens of this tenant"))),
            Verb(
                "rotate",
                "make another token for the tenant of one",
                (TOKEN_ID, Argument("--overlap", "how long the old one still counts"), EXPIRES),
            ),
        ),
    ),
    Noun(
        "tenant",
        "whom tasks belong to, in the file of tokens",
        (
            Verb("list", "list tenants and their limits"),
            Verb("set", "change what a tenant may do", (TENANT_NAME, *LIMIT_FLAGS)),
            Verb("remove", "take a tenant and its tokens out", (TENANT_NAME,)),
        ),
    ),
)
