-- What entries must hold together, within a file and across files. Runs when every entry by itself is good.
local clientcert = require "portreeve.clientcert"
local near = require "portreeve.near"
local portnames = require "portreeve.portnames"
local report = require "portreeve.report"
local schema = require "portreeve.schema"
local entries = require "portreeve.entries"
local ipairs, pairs, table, type = ipairs, pairs, table, type
local _ENV = nil

local checks = {}
local at = report.at
local FURTHER = 5000 -- ports of further instances are best at or above (Q3) …
local USUAL = { [80] = true, [81] = true, [82] = true, [443] = true } -- … but for those that documents name

local function said(e, file)
  return e.file == "" and ("%s has none, so %d"):format(file, e.value) or ("%s:%d has %d"):format(e.file, e.line, e.value)
end

-- Components on one server share their internal port (M49).
local internal_of = { hub = { "hub", "hub.ini" }, ui = { "lui", "lui.ini" }, tracker = { "tracker", "tracker.ini" } }
local function internal_port(r, ctx)
  local first
  for _, component in ipairs(schema.components) do
    local section, file = internal_of[component][1], internal_of[component][2]
    local e = r.components[component] and r[section].RMIPort
    if e then
      if first and first.value ~= e.value then
        local named = e.file ~= "" and e or first
        local what = "components on one server share this port, but %s and %s: give both the same value"
        ctx.report.error(at(named, nil, "" .. named.value), what:format(said(first, r.internal_file), said(e, file)))
        return
      end
      if not first or first.file == "" then
        first, r.internal_file = e, file
      end
    end
  end
  r.internal_port = first
end

local function is_here(host)
  return host == "localhost" or host == "::1" or host:find("^127%.") ~= nil
end

-- HOST: PORT written in one entry is the port entry of that service (E6). Both written must agree; --set wins over a file.
local function port_of_host(section, host, port, ctx)
  local h, p = section[host], section[port]
  if not h or not h.port then return end
  local both = p and p.file ~= "" and p.value ~= h.port
  if both and (p.file == "--set") == (h.file == "--set") then
    local what = "this names port %d, but %s is %d (%s:%d): leave one of the two out"
    ctx.report.error(at(h, nil, h.text), what:format(h.port, port, p.value, p.file, p.line))
  elseif not (both and p.file == "--set") then
    section[port] = { value = h.port, file = h.file, line = h.line, entry = h.entry, text = h.text }
  end
end

-- A component's port as the others call it (M52, M55). On one server it is the component's own: another value would find nobody. Nothing
-- written means that of the component on this server.
local function called_port(r, ctx, caller, host, port, component)
  local section, called = internal_of[caller][1], internal_of[component][1]
  local e, own = r[section][port], r[called].RMIPort
  if not (r.components[caller] and r.components[component] and is_here(r[section][host].value)) then return end
  if e.value == own.value then return end
  if e.file == "" then
    r[section][port] = { value = own.value, file = own.file, line = own.line, entry = own.entry, text = own.text }
  elseif e.file ~= "--set" and own.file ~= "--set" then
    local what = "the %s is on this server, where %s (RMIPort) and %s: give both the same value"
    local theirs, ours = said(own, internal_of[component][2]), said(e, internal_of[caller][2])
    ctx.report.error(at(e, nil, "" .. e.value), what:format(component, theirs, ours))
  end
end

-- The ui asks a tracker beside it at the port it was told, even where the tracker has moved on: no fault, since the hub can move it at any
-- time (M57), but no event arrives.
local function asked_port(r, ctx)
  local asked, own = r.lui.TrackerCommunicationsPort, r.tracker.CommunicationsPort
  if not (asked and r.components.ui and r.components.tracker and is_here(r.lui.TrackerHost.value)) then return end
  if asked.value == own.value or asked.file == "--set" or own.file == "--set" then return end
  local what = "the tracker is on this server, and its CommunicationsPort is %d (%s): no event arrives until both are the same, " ..
    "or this entry is left out"
  local place = own.file == "" and "the built-in default" or ("%s:%d"):format(own.file, own.line)
  ctx.report.warn(at(asked, nil, asked.text), what:format(own.value, place))
end

function checks.ports(r, ctx)
  internal_port(r, ctx)
  port_of_host(r.lui, "HubHost", "HubRMIPort", ctx)
  port_of_host(r.lui, "TrackerHost", "TrackerCommunicationsPort", ctx)
  port_of_host(r.tracker, "HubHost", "HubRMIPort", ctx)
  called_port(r, ctx, "ui", "HubHost", "HubRMIPort", "hub")
  called_port(r, ctx, "ui", "TrackerHost", "TrackerRMIPort", "tracker")
  called_port(r, ctx, "tracker", "HubHost", "HubRMIPort", "hub")
  asked_port(r, ctx)
end

local function builtin_listener(l, ctx)
  for entry in pairs(l.given) do
    if not schema.limits[entry] then
      local what = "listener %s gets its sockets from %s: here it can only have %s"
      local allowed = l.name == "http" and schema.limit_list or { table.unpack(schema.limit_list, 4) } -- the first three are http's
      local e = l[entry] or l.first
      what = what:format(l.name, schema.origin[l.name], near.join(allowed) .. ", Label-KEY")
      ctx.report.error(at(e, l.name .. "." .. entry, e.text), what)
    elseif entry == "WhenMissing" and l.name ~= "http" then
      ctx.report.error(at(l[entry] or l.first, l.name .. "." .. entry), "this listener never misses an address: leave the entry out")
    end
  end
  local tunnel = l.keyed.Backend and l.keyed.Backend[1]
  if tunnel then
    ctx.report.error(at(tunnel, nil, tunnel.text), ("only a tunnel has a backend, and listener %s can be none"):format(l.name))
  end
  for _, row in ipairs(l.rows) do
    ctx.report.error(at(row.first), ("listener %s gets its sockets from %s: give these a listener of their own"):format(
      l.name, schema.origin[l.name]))
  end
end

local function restriction(row, ctx)
  local e = row.given.Restriction and row.Restriction
  if e and e.value ~= "None" and not row.List then
    ctx.report.error(at(e, nil, e.value), ("a restriction needs an address list: add %s.List=NAME for lists/NAME.list"):format(row.name))
  end
end

-- Entries that have no effect without another one, or a dangerous one: what was meant is not what is in force.
local function without_effect(l, ctx)
  local lines = { l, table.unpack(l.rows) }
  local function some(entry, word)
    for _, line in ipairs(lines) do
      if line[entry].value == word then return true end
    end
    return false
  end
  for _, line in ipairs(lines) do
    local list, certificate, row = line.given.List and line.List, line.given.Certificate and line.Certificate, line ~= l
    local asked = not row and (some("Restriction", "Grant") or some("Restriction", "Deny"))
    if list and line.Restriction.value == "None" and not asked then
      local what = "nobody asks this list, unless a policy does: add %s.Restriction=Grant or Deny"
      ctx.report.warn(at(list, nil, list.text), what:format(line.name))
    end
    if certificate and line.InitTLS.value ~= "On" and (row or not some("InitTLS", "On")) then
      local what = "this socket does not speak TLS itself (%s.InitTLS is %s), so no caller sees the certificate"
      ctx.report.warn(at(certificate, nil, certificate.value), what:format(line.name, line.InitTLS.value))
    end
  end
end

-- What a socket line serves: HTTP, or one protocol of another kind, which has the socket to itself.
local own_protocol = { tunnel = true, ["tls-tunnel"] = true, ["remote-log"] = true, script = true }
local function protocol(line, ctx)
  local services = line.Services.value
  for _, s in ipairs(services) do
    if own_protocol[s] and services[2] then
      local what = "%s has a protocol of its own: give it a listener or a row to itself"
      ctx.report.error(at(line.Services, nil, line.Services.text), what:format(s))
      return
    end
  end
  if services[1] == "script" and not line.Script then
    ctx.report.error(at(line.Services, nil, "script"), ("which script? add %s.Script=NAME for policies/NAME.lua"):format(line.name))
  elseif line.given.Script and services[1] ~= "script" then
    ctx.report.warn(at(line.Script, nil, line.Script.value), ("no script runs here: %s.Services is not script"):format(line.name))
  end
end

-- UDP has no connections: no TLS (G16), no counts (G23), and of the services only the one that does not answer.
local function transport(line, l, ctx)
  if line.Transport.value ~= "UDP" then return false end
  local tls = line.InitTLS
  if tls.value ~= "Off" then
    local what = "TLS is for TCP only, and this socket is UDP (%s.Transport): write %s.InitTLS=Off, or Transport=TCP"
    ctx.report.error(at(tls, nil, tls.value), what:format(line.name, line.name))
  end
  if line.Services.value[1] ~= "remote-log" then
    ctx.report.error(at(line.Transport, nil, "UDP"), ("UDP carries remote-log only: write %s.Services=remote-log"):format(line.name))
  end
  if line ~= l and line.given.Backlog then
    ctx.report.warn(at(line.Backlog), "nobody waits to be accepted on a UDP socket: the entry has no effect")
  end
  return true
end

local function only_udp(l, ctx)
  for _, entry in ipairs { "MaxConnections", "MaxPerAddress", "Reserve" } do
    if l.given[entry] and l[entry] and l[entry].value > 0 then
      local what = "limits of connections are for TCP only, and this listener has UDP sockets only"
      ctx.report.warn(at(l[entry], nil, "" .. l[entry].value), what)
    end
  end
end

local TUNNELS = { tunnel = true, ["tls-tunnel"] = true }

-- A tunnel needs to know where it leads; what is none leads nowhere.
local function tunnel(line, ctx)
  if line.removed or not line.Port then return end
  local is, names = line.Services.value[1], line.keyed.Backend or {}
  local given = line.Backend or names[1]
  if not TUNNELS[is] then
    if given then
      local what = "only a tunnel has a backend: add %s.Services=tunnel (or tls-tunnel)"
      ctx.report.error(at(given, nil, given.text), what:format(line.name))
    elseif line.SendProxy.value ~= "Off" then
      ctx.report.error(at(line.SendProxy, nil, line.SendProxy.text), "a PROXY header is sent to the backend of a tunnel, and this is none")
    end
    return
  end
  if not given then
    local what = "a tunnel needs a backend: add %s.Backend=ADDRESS:PORT"
    ctx.report.error(at(line.Services, nil, line.Services.text), what:format(line.name))
  elseif is == "tunnel" and names[1] then
    local what = "a tunnel does not see the name that callers ask for: use the service tls-tunnel"
    ctx.report.error(at(names[1], nil, names[1].text), what)
  elseif is == "tunnel" and line.InitTLS.value == "On" then
    ctx.report.error(at(line.InitTLS, nil, "On"), "a tunnel does not end TLS: use the service tls-tunnel, or leave TLS to the backend")
  end
  if line.InitTLS.value == "Ext" then
    ctx.report.error(at(line.InitTLS, nil, "Ext"), "a tunnel makes no difference between encrypted and clear callers: leave the entry out")
  end
end

local function only_loopback(line)
  local list = line.Address and line.Address.value or {}
  for _, item in ipairs(list) do
    if not (item.address and (item.address:find("^127%.") or item.address == "::1")) then return false end
  end
  return list[1] ~= nil
end

-- Limits that nothing of the listener ever comes to.
local function idle_limits(l, ctx)
  local tls, http = schema.builtin[l.name], schema.builtin[l.name] -- what tomcat.ini has is not asked here
  for _, row in ipairs(schema.builtin[l.name] and {} or l.sockets) do
    local first = row.Services.value[1]
    tls = tls or row.InitTLS.value ~= "Off" or first == "tls-tunnel"
    http = http or not own_protocol[first]
  end
  local function warn(entry, idle, what)
    local e = l[entry]
    if e and idle and l.given[entry] and e.text ~= "0" then ctx.report.warn(at(e, nil, e.text), what:format(l.name)) end
  end
  for _, net in ipairs { "", "PerNet" } do
    warn("RateHandshakes" .. net, not tls, "no TLS begins here (%s.InitTLS is Off): this limits nobody")
    warn("RateRequests" .. net, not http, "%s speaks no HTTP, so there are no requests: write RateConnections")
  end
  warn("GiveWay", l.GiveWay and l.GiveWay.value == "On" and l.MaxConnections and l.MaxConnections.value == 0,
    "without %s.MaxConnections there is always room, and nobody gives way")
end

-- What comes in on an Ext socket counts as encrypted, so only the device in front may call (G22).
local function open_to_all(line, ctx)
  if line.removed or not line.Port or line.InitTLS.value ~= "Ext" then return end
  if line.Proxy.value ~= "Off" or line.Restriction.value == "Grant" or only_loopback(line) then return end
  local what = "whoever calls here would count as encrypted, so only the TLS device may: name it with %s.Restriction=Grant and " ..
    "%s.List=NAME (lists/NAME.list), or with %s.Proxy and %s.ProxyFrom=NAME where it sends PROXY headers"
  ctx.report.error(at(line.InitTLS, nil, "Ext"), what:format(line.name, line.name, line.name, line.name))
end

-- A PROXY header says who calls, so it is believed from devices that are named, and only where it is waited for.
local function proxy_header(line, ctx)
  if line.removed or not line.Port then return end
  local proxy, from, inside = line.Proxy, line.ProxyFrom, line.ProxyInside
  local on = proxy.value ~= "Off"
  if on and line.Transport.value == "UDP" then
    ctx.report.error(at(proxy, nil, proxy.value), ("PROXY headers are for TCP only: write %s.Proxy=Off"):format(line.name))
  elseif on and not from then
    local what = "a PROXY header is believed from known devices only: add %s.ProxyFrom=NAME for lists/NAME.list"
    ctx.report.error(at(proxy, nil, proxy.value), what:format(line.name))
  elseif not on and from and line.given.ProxyFrom then
    ctx.report.warn(at(from, nil, from.text), ("nobody asks this list: add %s.Proxy=V1, V2 or Any"):format(line.name))
  end
  if inside.value == "On" and not (on and line.InitTLS.value == "On") then
    local what = "a PROXY header within TLS needs %s.InitTLS=On and %s.Proxy=V1, V2 or Any"
    ctx.report.error(at(inside, nil, inside.value), what:format(line.name, line.name))
  end
end

-- One socket line: NAME.Port … or NAME.2.Port …. ADDRESS:PORT items in Port are an Address.
local function row_of(row, ctx)
  local port = row.Port
  if port and type(port.value) == "table" then
    if row.given.Address then
      local what = "the addresses stand here and in line %d: leave one of the two out"
      ctx.report.error(at(port, nil, port.text), what:format(row.Address and row.Address.line or 0))
    end
    row.Address = { value = port.value, file = port.file, line = port.line, entry = port.entry, text = port.text }
    row.Port = { value = port.value[1].port, file = port.file, line = port.line, entry = port.entry, text = port.text }
  end
  row.removed = port and port.value == 0 and port.file ~= "--set" and port.text:lower() ~= "free" or false -- G6, G7
  entries.drop_doubles(row.Address, ctx)
end

-- Further instances of a service belong on user ports: those below have owners that may come (Q3).
local function low_port(row, ctx)
  local ports, list = {}, row.Port and not row.removed and row.Address and row.Address.value or {}
  for i, item in ipairs(list.bare and {} or list) do
    ports[i] = item.port or row.Port.value
  end
  if row.Port and not row.removed and not ports[1] then ports[1] = row.Port.value end
  for _, port in ipairs(ports) do
    if port > 0 and port < FURTHER and not USUAL[port] and not portnames.named(ctx.names, port) then
      local what = "port %d is below %d, where ports of known services are: better take a port from %d up for a further listener, " ..
        "or give this one its name in the file services"
      ctx.report.warn(at(row.Port, nil, row.Port.text), what:format(port, FURTHER, FURTHER))
      return
    end
  end
end

-- The sockets of a listener are its own line, where it has a port, and its rows: l.sockets.
function checks.listeners(r, ctx)
  for _, l in ipairs(r.listeners) do
    l.sockets = {}
    if l.name == "shutdown" then
      ctx.report.error(at(l.first), "the name belongs to the shutdown port (ShutdownPort in tomcat.ini), which has no limits: take another")
      goto next
    end
    if schema.builtin[l.name] then
      builtin_listener(l, ctx)
    elseif not l.given.Port and not l.rows[1] then
      ctx.report.error(at(l.first, l.name .. ".Port"), "a listener needs a port")
    end
    if l.given.Port or schema.builtin[l.name] then l.sockets[1] = l end
    restriction(l, ctx)
    for _, row in ipairs(l.rows) do
      restriction(row, ctx)
      l.sockets[#l.sockets + 1] = row
      if not row.given.Port then
        ctx.report.error(at(row.first, row.name .. ".Port"), "a row needs a port of its own; 0 means that there is no such row")
      end
    end
    without_effect(l, ctx)
    local udp = l.sockets[1] ~= nil
    for _, row in ipairs(l.sockets) do
      row_of(row, ctx)
      if not schema.builtin[l.name] then
        low_port(row, ctx)
        open_to_all(row, ctx)
        protocol(row, ctx)
        tunnel(row, ctx)
        udp = transport(row, l, ctx) and udp
        proxy_header(row, ctx)
      end
    end
    for _, row in ipairs(l.sockets) do
      clientcert.check(row, l, ctx)
    end
    if udp and not schema.builtin[l.name] then only_udp(l, ctx) end
    if l.Reserve and l.Reserve.value > 0 and l.MaxConnections and l.MaxConnections.value == 0 then
      ctx.report.warn(at(l.Reserve, nil, "" .. l.Reserve.value), ("a reserve without %s.MaxConnections keeps nobody out"):format(l.name))
    end
    idle_limits(l, ctx)
    ::next::
  end
end

function checks.certificates(r, ctx)
  for _, c in ipairs(r.certificates) do
    if not c.given.Certificate then
      ctx.report.error(at(c.first, c.name .. ".Certificate"), "the file with the certificate is missing")
    end
    if c.Password and c.PasswordFile then
      ctx.report.error(at(c.PasswordFile, nil, c.PasswordFile.value), "give the password or a file with it, not both")
    end
  end
end

return checks
