-- Where a request goes: route(req) -> service, or nil and a status. The first row that fits decides.
--
-- A path with / at its end means everything below it; one without means that path itself and everything below it.
-- A row counts only on sockets that carry its service (Services of listeners.ini, Components of portreeve.ini).
-- list: only peers in lists/NAME.list come in there; everybody else gets 403.
local match = require "portreeve.match"

return match.routes {
  { path = "/trk/",        service = "tracker" },
  { path = "/lui",         service = "ui",       list = "admin" },
  { path = "/hub",         service = "hub",      list = "admin" },
  { path = "/events",      service = "transfer" },
  { path = "/ack",         service = "transfer" },
  { path = "/internal/",   service = "internal" },
  { path = "/metrics",     service = "ops",      only = true },
  { path = "/healthz",     service = "ops",      only = true },
  { path = "/readyz",      service = "ops",      only = true },
  { path = "/robots.txt",  service = "tracker",  only = true },
  { path = "/favicon.ico", service = "tracker",  only = true },
}
