-- Which sockets exist, on which port, plain or TLS: bind(rules, host) -> plan. Nothing is opened here; `portreeve plan` shows the result.
--
-- rules.tomcat.Port.value and so on are the entries of conf/*.ini, host the addresses of this machine (see ARCHITECTURE.md).
-- To change a rule: edit a row below, run `portreeve check`, then `portreeve reload`. bind_test.lua proves the rows at every reload.
local clientcert = require "portreeve.clientcert"
local limits = require "portreeve.limits"
local plan = require "portreeve.plan"

-- The addresses a row can open. c.B, c.S, c.X are what BindAddress, SecureServer and the Secure-ADDRESS entries list.
local function everywhere(c) return c.wildcards end     -- 0.0.0.0 and [::], also for addresses that come later
local function each_of_host(c) return c.host end        -- every address this machine has now, one socket each
local function B(c) return c.B end
local function S(c) return c.S end
local function X(c) return c.X end
local function S_and_X(c) return c.S_and_X end

-- Which of them speak HTTPS.
local function none() return false end
local function all() return true end
local function those_of_S(c, address) return c.is_S[address] end
local function those_of_X(c, address) return c.is_X[address] end
local function those_of_S_and_X(c, address) return c.is_S[address] or c.is_X[address] end

local rows = {}
local function key(bind_address, secure_server, secure_entries)
  return bind_address .. "/" .. secure_server .. "/" .. secure_entries
end
local function row(name, bind_address, secure_server, secure_entries, addresses, https)
  local uniform = secure_entries == "no" and (https == none or https == all) -- one scheme and certificate, whatever the addresses
  rows[key(bind_address, secure_server, secure_entries)] =
    { name = name, addresses = addresses, https = https, uniform = uniform, policy = plan.here() }
end

--         BindAddress  SecureServer  Secure-ADDRESS
--         (B)          (S)           (X)               sockets on …    HTTPS on …
row("R1",  "absent",    "false",      "no",             everywhere,     none)
row("R2",  "absent",    "false",      "yes",            X,              all)
row("R3",  "absent",    "true",       "no",             everywhere,     all)
row("R4",  "absent",    "true",       "yes",            each_of_host,   all)
row("R5",  "absent",    "list",       "no",             S,              all)
row("R6",  "absent",    "list",       "yes",            S_and_X,        all)
row("R7",  "list",      "false",      "no",             B,              none)
row("R8",  "list",      "false",      "yes",            B,              those_of_X)
row("R9",  "list",      "true",       "no",             B,              all)
row("R10", "list",      "true",       "yes",            B,              all)
row("R11", "list",      "list",       "no",             B,              those_of_S)
row("R12", "list",      "list",       "yes",            B,              those_of_S_and_X)

-- Items of a list as { address =, port =, because = entry, waiting =, why = reason it cannot be bound, note = remark }; an item without
-- `because` has that of the whole list. An item may be an interface or a group of them (Group-NAME): all its addresses. `when`: the
-- WhenMissing of the listener.
local function items_of(p, list, entry, host, rules, when)
  local out, plain = { because = entry }, plan.host.plain(host)
  if entry and plan.host.all_plain(host, list.bare) then
    out.bare = list.bare
    return table.move(list, 1, #list, 1, out)
  end
  for _, item in ipairs(list) do
    local because = entry or item
    if entry and plain[item.address] then
      out[#out + 1] = item
    else
      for _, place in ipairs(plan.host.places(host, item, when, rules.groups)) do
        if place.address then
          out[#out + 1] = { address = place.address, waiting = place.waiting, why = place.why, note = place.note, port = item.port,
                            because = because, certificate = not entry and item.value or nil }
        elseif place.why then
          p:refuse(because, "%s", place.why)
        else
          p:warn(because, "%s", place.note)
        end
      end
    end
  end
  return out
end

local function set_of(items)
  local set = {}
  for _, item in ipairs(items) do
    set[item.address] = item
  end
  return set
end

local function wildcards(host, because)
  local out = { { address = "0.0.0.0", because = because } }
  if host.ipv6 then out[2] = { address = "::", because = because } end
  return out
end

-- Every address of the host (of one family). Those the kernel still checks for duplicates cannot be bound yet: they are left out or waited
-- for.
local function host_items(p, host, family, because, when)
  local out = {}
  for _, a in ipairs(plan.host.addresses(host, family)) do
    if a.unusable and when ~= "Wait" then
      p:warn(because, "%s %s and is left out until it can be used", a.address, a.unusable)
    else
      out[#out + 1] = { address = a.address, because = because, waiting = a.unusable and true or nil }
    end
  end
  return out
end

-- OnlyIPV4Addresses, OnlyIPV6Addresses: one wildcard where every address gets the same scheme and certificate, else one socket for each.
local function family_items(p, host, family, because, when, uniform)
  if family == 6 and not host.ipv6 then
    p:refuse(because, "this machine has no IPv6: use OnlyIPV4Addresses or switch IPv6 on")
    return {}
  end
  if uniform then return { { address = family == 6 and "::" or "0.0.0.0", because = because } } end
  return host_items(p, host, family, because, when)
end

-- Why a socket exists: an entry of the rules, the row where the table above speaks, the line of this file.
local function because(entry, row_name, policy)
  return { file = entry.file, line = entry.line, entry = entry.entry, row = row_name, policy = policy }
end

local function with(socket, more)
  for name, value in pairs(more) do
    socket[name] = value
  end
  return socket
end

-- Open `items`: each address and port once. kind(item): what a socket has of its address beside the port; nil = nothing.
-- Of long lists, those that differ in their address only become one entry with a list of addresses: items.bare, where it is known to be
-- the whole list.
local MANY = 64
local function open(p, items, make, kind)
  if items.bare and not kind then
    local socket = make(items[1], items.because)
    socket.address, socket.addresses = nil, items.bare
    p:socket(socket)
    return
  end
  local seen = {} -- port -> addresses
  local many, first, sort, socket = #items >= MANY, nil, nil, nil -- socket: an entry under way; first: the item it began with
  for _, item in ipairs(items) do
    local k, entry = kind and kind(item), item.because or items.because
    local usual = many and not (item.why or item.note or item.waiting)
    if not (usual and first and item.port == first.port and k == sort and item.because == first.because) then
      if first and socket.addresses[1] then p:socket(socket) end
      first, sort, socket = usual and item, k, make(item, entry)
      if usual then socket.address, socket.addresses = nil, {} end
    end
    local there = seen[socket.port] or {}
    seen[socket.port] = there
    if item.why then
      p:refuse(entry, "%s", item.why)
    elseif there[item.address] then
      p:warn(entry, "%s is listed twice with port %d: one socket serves both", item.address, socket.port)
    else
      if item.note then p:warn(entry, "%s", item.note) end
      there[item.address] = true
      if first then
        socket.addresses[#socket.addresses + 1] = item.address
      else
        socket.waiting = item.waiting
        p:socket(socket)
      end
    end
  end
  if first and socket.addresses[1] then p:socket(socket) end
end

-- Secure entries that the row does not use: never bound, but said.
local function warn_ignored(p, secure, used, why)
  for _, item in ipairs(secure) do
    local entry = item.because or secure.because
    if not used[item.address] then p:warn(entry, "%s %s: the entry is ignored for this address", item.address, why) end
  end
end

-- What a line of listeners.ini says beside its sockets' places. Counts are the listener's, over all its sockets; UDP has none (G23).
local function limits_of(listener, line, udp)
  local counts = limits.of(listener, line)
  local out = {
    rates = counts.rates, bits = counts.bits, limit_lines = counts.lines, limit_file = counts.file,
    when_missing = line.WhenMissing.value:lower(), restriction = line.Restriction.value:lower(), list = line.List and line.List.value,
    backlog = line.Backlog.value, labels = line.Labels and line.Labels.value,
  }
  if not udp then
    out.max_connections, out.max_per_address, out.reserve, out.give_way =
      listener.MaxConnections.value, listener.MaxPerAddress.value, listener.Reserve.value, counts.give_way
  end
  return out
end

-- The section of a listener whose sockets come from other files, and its limits.
local function builtin(rules, name)
  for _, l in ipairs(rules.listeners) do
    if l.name == name then return l, limits_of(l, l) end
  end
  return nil, {}
end

-- The sockets of tomcat.ini: the table above.
local function main_listener(p, rules, host)
  local t, c = rules.tomcat, {}
  local section, its_limits = builtin(rules, "http")
  local when = section and section.WhenMissing.value
  local bind, secure_server = t.BindAddress, t.SecureServer
  local S_is_list = type(secure_server.value) == "table"
  local r = rows[key(bind and "list" or "absent", S_is_list and "list" or tostring(secure_server.value), t.secure[1] and "yes" or "no")]

  c.S = S_is_list and items_of(p, secure_server.value, secure_server, host, rules, when) or {}
  c.X = items_of(p, t.secure, nil, host, rules, when)
  c.is_S, c.is_X = set_of(c.S), set_of(c.X)
  c.S_and_X = { table.unpack(c.X) }
  for _, item in ipairs(c.S) do
    if not c.is_X[item.address] then c.S_and_X[#c.S_and_X + 1] = item.because and item or with({ because = secure_server }, item) end
  end
  if bind and bind.value.family then
    c.B = family_items(p, host, bind.value.family, bind, when, r.uniform)
  elseif bind then
    c.B = items_of(p, bind.value, bind, host, rules, when)
  end
  c.wildcards = wildcards(host, secure_server.value == true and secure_server or t.Port)
  if r.addresses == each_of_host then c.host = host_items(p, host, nil, secure_server, when) end

  local items = r.addresses(c)
  if r.addresses == everywhere and not host.ipv6 then p:warn(nil, "this machine has no IPv6: only IPv4 is served") end
  if bind then
    warn_ignored(p, c.S_and_X, c.S_and_X[1] and set_of(items), "is not in BindAddress")
  elseif c.host then
    warn_ignored(p, c.X, set_of(items), "is not an address of this machine")
  end
  local client, client_ca = clientcert.fields(section)
  open(p, items, function(item, entry)
    local https = r.https(c, item.address) and true or false
    local x = c.is_X[item.address]
    return with({
      name = "http", address = item.address, port = item.port or (https and t.SecurePort or t.Port).value,
      scheme = https and "https" or "http",
      certificate = https and (x and x.certificate or "default") or nil, services = rules.portreeve.Components.value,
      client = https and client or nil, client_ca = https and client_ca or nil,
      because = because(entry, r.name, r.policy),
    }, its_limits)
  end, not r.uniform and function(item)
    local x = c.is_X[item.address]
    return r.https(c, item.address) and (x and x.certificate or "default")
  end)
end

-- Between the components: 1099 (RMIPort) and, where the tracker runs, 7000. Only for peers in lists/components.list.
local function internal_listeners(p, rules, host)
  local function internal(name, port, service)
    local _, its_limits = builtin(rules, name)
    if (its_limits.restriction or "none") == "none" then its_limits.restriction, its_limits.list = "grant", "components" end
    open(p, wildcards(host, port), function(item)
      return with({
        name = name, address = item.address, port = port.value, scheme = "http", services = { service },
        because = because(port, nil, plan.here()),
      }, its_limits)
    end)
  end
  internal("internal", rules.internal_port, "internal")
  if rules.components.tracker then internal("communications", rules.tracker.CommunicationsPort, "transfer") end
end

-- The shutdown command, for this machine only: the supervisor answers it itself.
local function shutdown_listener(p, rules)
  local port = rules.tomcat.ShutdownPort
  if port.value <= 0 then return end
  p:socket {
    name = "shutdown", address = "127.0.0.1", port = port.value, scheme = "http", services = { "shutdown" },
    because = because(port, nil, plan.here()),
  }
end

-- Where the tunnel of a line leads: the name of the set, or nil where the line is no tunnel.
local function backends_of(p, line)
  local names = line.keyed.Backend or {}
  if not line.Backend and not names[1] then return nil end
  if line.Backend then p:backend { set = line.name, to = line.Backend.value, because = because(line.Backend, nil, plan.here()) } end
  for _, e in ipairs(names) do
    p:backend { set = line.name, sni = e.key, to = e.value, because = because(e, nil, plan.here()) }
  end
  return line.name
end

-- Services of the engine itself, whatever is installed here.
local needs_none = { ops = true, tunnel = true, ["tls-tunnel"] = true, ["remote-log"] = true, script = true }

-- One socket line of listeners.ini, a section's own or a row of it, with the services that are installed here.
local function further_sockets(p, rules, host, l, line)
  local services = {}
  for _, s in ipairs(line.Services.value) do
    if needs_none[s] or rules.components[s] then services[#services + 1] = s end
  end
  if not services[1] then
    p:warn(line.Port, "none of the services of listener %s is installed here (Components), so it is not opened", l.name)
    return
  end
  local at, when = line.Address.value, line.WhenMissing.value
  local items
  if at.star then
    items = wildcards(host, line.Port)
  elseif at.family then
    items = family_items(p, host, at.family, line.Address, when, true)
  else
    items = items_of(p, at, line.Address, host, rules, when)
  end
  local https = line.InitTLS.value == "On"
  local udp = line.Transport.value == "UDP"
  local its_limits = limits_of(l, line, udp)
  local proxy = line.Proxy.value ~= "Off" and line.Proxy.value:lower() or nil -- a device in front says whom it speaks for
  local client, client_ca = clientcert.fields(https and line)
  local why = because(line.Port, nil, plan.here())
  local backends = backends_of(p, line)
  local proxy_out = backends and line.SendProxy.value:lower() or nil
  open(p, items, function(item)
    return with({
      name = l.name, address = item.address, port = item.port or line.Port.value,
      scheme = https and "https" or "http", external = line.InitTLS.value == "Ext",
      proxy = proxy, proxy_from = proxy and line.ProxyFrom and line.ProxyFrom.value,
      proxy_inside = proxy and line.ProxyInside.value == "On",
      certificate = https and line.Certificate.value or nil, client = client, client_ca = client_ca, services = services,
      transport = udp and "udp" or nil, script = services[1] == "script" and line.Script.value or nil,
      backends = backends, proxy_out = proxy_out, because = why,
    }, its_limits)
  end)
end

return function(rules, host)
  local p = plan.new()
  main_listener(p, rules, host)
  internal_listeners(p, rules, host)
  shutdown_listener(p, rules)
  for _, l in ipairs(rules.listeners) do
    for _, line in ipairs(l.sockets) do
      if line.Port and not line.removed then further_sockets(p, rules, host, l, line) end
    end
  end
  return p
end
