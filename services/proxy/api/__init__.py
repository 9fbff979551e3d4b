"""How clients call the proxy: HTTP, from the socket up to one handler.

porch     where connections begin: plain polls are answered here
quick     reads plain polls without a parser
wire      the server's protocol: what a connection may do before and between requests
cycle     one request on a wire, and the door from it to its connection
exchange  one request and its answer: query, body with a time limit, JSON, CORS, dropping the connection
app       the front door: token, then straight to the hot paths (polls, /info, uploads, downloads, pages)
passing   uploads that another proxy holds: the request is passed on to it
gate      how many uploads are taken at once
hot       these paths, as plain ASGI callables
rare      everything else, as a Starlette application
bodies    forms and uploads, read as they come
server    uvicorn, on one or two ports
"""
