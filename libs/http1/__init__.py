"""HTTP/1.1 for both directions, without I/O: bytes and times go in, events come out. Over httptools (llhttp), which reads strictly.

    lines     header lines, status lines: what both sides write
    heads     one head, as it comes: size, count, version, Host, what frames the body
    bodies    one body, as it comes: of a known length, chunked, or up to the end of the connection
    server    one connection of a client: requests one at a time, and how long it may take over what
    client    one connection to a server: one answer at a time
    space     where connections read to

Rule 1: what decides anything about a connection lives here; sockets, timers and tasks live elsewhere (clusterodm.libs.common.http_io.server,
clusterodm.libs.common.http_io.client). Rule 2: nothing here reads a clock; the time (seconds of any monotonic clock) is an argument.
Rule 3: bytes behind the end of a message are not looked at before it is the next message's turn.

Rule 3 is what llhttp alone does not give: fed with two messages it calls back for both, and nothing says where the first one
ended. So nothing ever gets more than one message to read: a head ends with the first empty line, a body of known length is
counted, and a chunked body, its trailers included, ends with an empty line too. Each piece that goes to a parser ends with the next empty line
at the latest, and afterwards the parser has said whether the message is over.

How a body is framed is decided once, from the head (RFC 9112, 6.3). Everything optional that is not served here (Upgrade, HTTP/2 by h2c,
trailers) is read as if it were not there. Everything ambiguous (two lengths, a length and a coding, no Host or two of
them, another version) is refused.

RFC 9110: https://www.rfc-editor.org/rfc/rfc9110 · RFC 9112: https://www.rfc-editor.org/rfc/rfc9112 · llhttp: https://llhttp.org
"""
