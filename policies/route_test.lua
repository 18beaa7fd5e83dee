-- Proves route.lua: runs in the sandbox at every reload and `portreeve check`, and in `make test`.
local route = require "policies.route"
local fake = require "portreeve.fake"

local admin = { admin = { ["127.0.0.1"] = "conf/lists/admin.list:3" } }

local function to(path, given)
  local req = { path = path, lists = admin }
  for key, value in pairs(given or {}) do req[key] = value end
  local service, status = route(fake.req(req))
  return service or status
end

return {
  ["tracking paths go to the tracker, from anywhere"] = function(t)
    t.eq(to "/trk/o/abc.gif", "tracker")
    t.eq(to "/trk/", "tracker")
    t.eq(to "/robots.txt", "tracker")
    t.eq(to "/favicon.ico", "tracker")
    t.eq(to "/trk", 404)
    t.eq(to "/robots.txt/x", 404)
  end,
  ["ui and hub only for peers in the admin list"] = function(t)
    t.eq(to("/lui", { address = "127.0.0.1" }), "ui")
    t.eq(to("/lui/", { address = "127.0.0.1" }), "ui")
    t.eq(to("/lui/reports/7", { address = "127.0.0.1" }), "ui")
    t.eq(to("/hub/", { address = "127.0.0.1" }), "hub")
    t.eq(to("/lui/", { address = "192.0.2.1" }), 403)
    t.eq(to("/hub", { address = "192.0.2.1" }), 403)
  end,
  ["a longer word is another path"] = function(t)
    t.eq(to("/luixury", { address = "127.0.0.1" }), 404)
    t.eq(to("/hub.php", { address = "127.0.0.1" }), 404)
  end,
  ["a socket gives only what it carries"] = function(t)
    t.eq(to("/trk/o/a.gif", { services = { ui = true } }), 404)
    t.eq(to("/hub/", { address = "127.0.0.1", services = { tracker = true } }), 404)
    t.eq(to("/metrics", { services = { ops = true } }), "ops")
    t.eq(to("/metrics", {}), 404)
    t.eq(to("/healthz", { services = { ops = true } }), "ops")
    t.eq(to("/readyz", { services = { ops = true } }), "ops")
    t.eq(to("/events", { services = { transfer = true } }), "transfer")
    t.eq(to("/ack", { services = { transfer = true } }), "transfer")
    t.eq(to("/internal/status", { services = { internal = true } }), "internal")
    t.eq(to("/internal/status", {}), 404)
  end,
  ["everything else is not found"] = function(t)
    t.eq(to "/", 404)
    t.eq(to "/TRK/o/a.gif", 404)
    t.eq(to "//trk/o/a.gif", 404)
    t.eq(to "*", 404)
  end,
}
