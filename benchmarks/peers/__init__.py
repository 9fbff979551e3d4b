"""What ours is measured against: configurations of nginx and HAProxy, and two small programs for Node.js.

nginx.conf  haproxy.cfg   `@name@` is filled in
proxy.js                  a reverse proxy with http-proxy and busboy, as one writes it in Node.js
forward.js                sends files with node-libcurl
package.json              the packages that the two need
"""
