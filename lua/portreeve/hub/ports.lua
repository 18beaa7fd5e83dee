--- Ports: every port that is in use here, who holds it, who must reach it (M24–M28, M42, M43, E5, E7, E11).
local html = require "portreeve.web.html"
local layout = require "portreeve.web.layout"
local address = require "portreeve.web.address"
local plain = require "portreeve.hub.plain"
local sockets = require "portreeve.hub.sockets"
local ipairs, table_concat, table_sort, tostring = ipairs, table.concat, table.sort, tostring
local h = html.tag
local _ENV = nil

local SHOWN = 500

local purpose = {
  tracker = "events from mails", ui = "campaigns and reports", hub = "administration", ops = "monitoring",
  internal = "calls between components", transfer = "the ui fetches events", shutdown = "the shutdown command",
  tunnel = "a tunnel to another server", ["tls-tunnel"] = "a tunnel for TLS, to another server",
  ["remote-log"] = "log messages of other machines", script = "a protocol written in Lua",
}

local function is_own(s)
  return address.is_loopback(s.address)
end

-- Who must be let through on the way here, and who is let in here.
local function who(s)
  if is_own(s) then
    return "this machine only"
  elseif s.restriction == "grant" then
    return { "only ", h.code { "lists/" .. tostring(s.list) .. ".list" } }
  elseif s.restriction == "deny" then
    return { "all but ", h.code { "lists/" .. tostring(s.list) .. ".list" } }
  end
  return "everybody"
end

local function meant(s)
  local out = {}
  for name in tostring(s.services or ""):gmatch("[%w_-]+") do
    out[#out + 1] = purpose[name] or name
  end
  return table_concat(out, ", ")
end

-- { {port, sockets} … } by port.
local function by_port(status)
  local list, found = {}, {}
  for _, s in ipairs(status.listeners or {}) do
    local port = sockets.whole(s.port) or 0
    if not found[port] then
      found[port] = { port = port, sockets = {} }
      list[#list + 1] = found[port]
    end
    local of = found[port].sockets
    of[#of + 1] = s
  end
  table_sort(list, function(a, b) return a.port < b.port end)
  return list
end

local function firewall(s, port)
  if is_own(s) then
    return "–"
  elseif s.waiting then
    return "nothing yet"
  end
  return ("%s %d%s"):format(s.transport == "udp" and "UDP" or "TCP", port, s.restriction == "grant" and ", from that list" or "")
end

local function socket_cells(c, p, i, s)
  return { i == 1 and h.b { p.port == 0 and "not yet" or tostring(p.port) } or h.span { class = "hint", p.port },
    h.code { s.address }, { s.name, h.span { class = "hint block", meant(s) } }, who(s),
    firewall(s, p.port),
    { sockets.state(s), h.span { class = "hint block", "portreeve", c.pid and ", pid " .. c.pid or "" } } }
end

-- The tracker has to be reached by everybody, or tracking does not work at all (M43).
local function tracker_note(status)
  local has, open = false, false
  for _, s in ipairs(status.listeners or {}) do
    if ("," .. tostring(s.services) .. ","):find(",tracker,", 1, true) then
      has = true
      open = open or not is_own(s) and s.restriction ~= "grant" and not s.waiting
    end
  end
  return has and not open and layout.note("warn", h.p { "No socket with the tracker lets everybody in: links and pictures of mails work ",
    "for nobody outside. Give the tracker a socket that is not on loopback and not restricted." }) or nil
end

local function page(engine)
  return function(c)
    local status = plain.status(engine)
    c.pid = sockets.whole(status.pid)
    local rows = {}
    for _, p in ipairs(by_port(status)) do
      for i, s in ipairs(p.sockets) do
        rows[#rows + 1] = #rows < SHOWN and socket_cells(c, p, i, s) or nil
      end
    end
    return c.page { title = "Ports", body = {
      h.div { class = "headline", h.h1 "Ports", h.div { class = "upto", h.p { "As of ", layout.stamp(c.now), "." } } },
      tracker_note(status),
      h.section { class = "card", id = "ports", h.h2 "In use by this server",
        layout.data_table { caption = "Ports in use, and who must reach them", rows = rows, columns = { { label = "Port" },
          { label = "Address" }, { label = "For" }, { label = "Lets in" }, { label = "Firewall must admit" }, { label = "State" } } },
        h.p { class = "hint", "The same as rules for a firewall or NAT: ", h.code "portreeve plan --firewall",
          ". Outgoing connections need no rule here: the ui asks the tracker, the hub asks both. Another program on a port is named when ",
          "a listener wants it." } },
    } }
  end
end

return { page = page }
