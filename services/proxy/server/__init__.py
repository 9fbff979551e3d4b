"""How clients reach the proxy: ports, the fast path for plain polls, and which story answers which address."""
