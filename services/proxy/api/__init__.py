"""How clients call the proxy: HTTP, from the socket up to one handler.

quick     reads plain polls without a parser (the fast path of libs.common.http_server, where connections begin)
exchange  one request and its answer: query, body with a time limit, JSON, CORS, dropping the connection
app       the front door: token, then straight to the hot paths (polls, /info, uploads, downloads, pages)
passing   uploads that another proxy holds: the request is passed on to it
gate      how many uploads are taken at once
hot       these paths, as plain ASGI callables
rare      everything else, as a Starlette application
bodies    forms and uploads, read as they come
server    uvicorn, on one or two ports
"""
