-- Which entry binds an address and port, or why nothing does: explain.at(target, sockets, rules, host) ->
-- { bound =, lines =, sockets = indexes of those that serve it }, or nil, why for what is no target. The sockets are a plan's, with
-- their states and the ports really bound; rules and host are what bind.lua got.
--   target: "192.0.2.10:443", "[::1]:80", "192.0.2.10" (every port of it), ":443" (every address with it)
local addr = require "portreeve.addr"
local host = require "portreeve.host"
local near = require "portreeve.near"
local ipairs, tostring, type = ipairs, tostring, type
local concat, sort = table.concat, table.sort
local _ENV = nil

local explain = {}
local MOST = 12 -- places that one sentence names

-- What each row of the bind table opens, for the sentence about the row that governs.
local ROWS = {
  R1 = "no BindAddress and no HTTPS: every address, on Port",
  R2 = "exactly the addresses of the Secure- entries, all HTTPS; the plain Port is closed everywhere",
  R3 = "SecureServer=true: every address, HTTPS on SecurePort; the plain Port is closed everywhere",
  R4 = "every address that this machine has, each with a socket of its own, HTTPS on SecurePort; the plain Port is closed everywhere",
  R5 = "exactly the addresses of SecureServer, all HTTPS; the plain Port is closed everywhere",
  R6 = "exactly the addresses of SecureServer and of the Secure- entries, all HTTPS; the plain Port is closed everywhere",
  R7 = "exactly the addresses of BindAddress, all HTTP",
  R8 = "exactly the addresses of BindAddress; those with a Secure- entry speak HTTPS, the rest HTTP",
  R9 = "exactly the addresses of BindAddress, all HTTPS",
  R10 = "exactly the addresses of BindAddress, all HTTPS",
  R11 = "exactly the addresses of BindAddress; those of SecureServer speak HTTPS, the rest HTTP",
  R12 = "exactly the addresses of BindAddress; those of SecureServer or with a Secure- entry speak HTTPS, the rest HTTP",
}

local function place(address, port)
  return (address:find(":", 1, true) and "[%s]:%s" or "%s:%s"):format(address, port == 0 and "(a free port)" or tostring(port))
end

local function entry_text(e)
  if (e.file or "") == "" then return "the built-in default of " .. (e.entry or "?") end
  return ("%s:%d %s"):format(e.file, e.line, e.entry)
end

local function where(e)
  return (e.file or "") == "" and "built-in default" or ("%s:%d"):format(e.file, e.line)
end

local function some(list)
  local shown = {}
  for i = 1, #list < MOST and #list or MOST do
    shown[i] = list[i]
  end
  return concat(shown, ", ") .. (#list > MOST and (" and %d more"):format(#list - MOST) or "")
end

-- { address = nil | text, port = nil | number, text = as it is shown }
local function parse(text)
  local port = text:match("^:(%d+)$")
  if port then
    port = port:find("^[1-9]%d?%d?%d?%d?$") and port + 0 or 0
    if port < 1 or port > 65535 then return nil, "a port is a number from 1 to 65535" end
    return { port = port, text = ":" .. port }
  end
  local bare = addr.parse(text)
  if bare then return { address = bare, text = bare } end
  local address, number = addr.hostport(text)
  if not address then
    return nil, ("\"%s\" is none of 192.0.2.10:443, [2001:db8::1]:443, 192.0.2.10 and :443 (%s)"):format(text, tostring(number))
  end
  return { address = address, port = number, text = number and place(address, number) or address }
end

local function is_here(facts, address)
  if addr.is_any(address) or addr.is_loopback(address) then return true end
  for _, a in ipairs(facts.addresses) do
    if a.ip == address or a.ip .. "%" .. (a.interface or "") == address then return true end
  end
  return false
end

local function speaks(s)
  local services = concat(s.services, ",")
  if services == "shutdown" then return "the shutdown command, taken by the supervisor" end
  local tls = s.scheme == "https" and (" with certificate %s"):format(s.certificate) or s.external and " (TLS in front)" or ""
  local behind = (s.proxy or "off") ~= "off" and (" behind a PROXY header (%s)"):format(s.proxy) or ""
  local asked = s.client == "ask" and ", asking callers for theirs" or s.client == "require" and ", demanding one of callers" or ""
  return ("%s%s%s%s for %s"):format(s.scheme, tls, asked, behind, services)
end

local function may_call(s)
  if (s.proxy or "off") ~= "off" then
    return ("only devices of list %s may call, for callers that are judged behind them"):format(s.proxy_from)
  end
  if s.restriction == "grant" then return ("only addresses of list %s may call"):format(s.list) end
  if s.restriction == "deny" then return ("everybody but the addresses of list %s may call"):format(s.list) end
  return "everybody may call"
end

local function covers(s, target)
  if target.port and s.port ~= target.port then return false end
  if not target.address then return true end
  if addr.is_any(s.address) then
    return host.family_of(s.address) == host.family_of(target.address)
  end
  return addr.same(s.address, target.address)
end

-- Does this list of items name the address? Interfaces and groups stand for their addresses.
local function names(list, address, facts, rules)
  for _, item in ipairs(list) do
    if item.address and addr.same(item.address, address) then return item end
    if not item.address and item.name then
      for _, p in ipairs(host.places(facts, item, "Wait", rules.groups or {})) do
        if p.address and addr.same(p.address, address) then return item end
      end
    end
  end
  return nil
end

-- The entry of tomcat.ini that makes a socket of it speak HTTPS.
local function tls_entry(s, rules, facts)
  local S = rules.tomcat.SecureServer
  if s.name ~= "http" or s.scheme ~= "https" then return nil end
  local x = names(rules.tomcat.secure, s.address, facts, rules)
  return x or (S.value == true or type(S.value) == "table" and names(S.value, s.address, facts, rules)) and S or nil
end

-- The lines about one socket that serves the target.
local function tell(s, target, rules, facts, out)
  local wild = addr.is_any(s.address)
  local at = place(target.address or s.address, s.port)
  local socket = place(s.address, s.port)
  out[#out + 1] = ("%s is bound by listener %s: %s"):format(at, s.name, speaks(s))
  if wild then
    out[#out + 1] = ("  socket: %s, every %s address of this machine"):format(socket, s.address == "::" and "IPv6" or "IPv4")
  else
    out[#out + 1] = ("  socket: %s, of this address alone"):format(socket)
  end
  local row = s.because.row ~= "" and ("; row %s (%s)"):format(s.because.row, ROWS[s.because.row] or "of bind.lua") or ""
  out[#out + 1] = ("  because: %s%s"):format(entry_text(s.because), row)
  local tls = tls_entry(s, rules, facts)
  if tls and tls.entry ~= s.because.entry then out[#out + 1] = ("  HTTPS: %s"):format(entry_text(tls)) end
  if s.because.policy ~= "" then out[#out + 1] = "  decided: " .. s.because.policy end
  out[#out + 1] = "  who: " .. may_call(s)
  if s.state and s.state ~= "" then out[#out + 1] = "  now: " .. s.state end
end

-- ---- why nothing binds it ----

local function not_here(target, facts, sockets, out)
  for _, s in ipairs(sockets) do
    if s.waiting and covers(s, { address = target.address }) then
      out[#out + 1] = ("%s is not on this machine now (`ip address` shows what is)"):format(target.address)
      return
    end
  end
  local known = {}
  for _, a in ipairs(facts.addresses) do
    known[#known + 1] = a.ip
  end
  local best = near.best(target.address, known)
  out[#out + 1] = ("%s is not an address of this machine (`ip address` shows them)%s"):format(
    target.address, best and (": did you mean %s?"):format(best) or "")
end

-- Sockets that are one thing away: another port of the address, another address with the port, or waiting.
local function neighbours(target, here, sockets, out)
  local ports, places, waiting = {}, {}, {}
  for _, s in ipairs(sockets) do
    local same_address = target.address and (here or not addr.is_any(s.address)) and covers(s, { address = target.address })
    if s.waiting and (same_address or s.port == target.port) then
      waiting[#waiting + 1] = ("%s (listener %s; because: %s)"):format(place(s.address, s.port), s.name, entry_text(s.because))
    elseif same_address then
      ports[#ports + 1] = ("%d (%s, listener %s)"):format(s.port, s.scheme, s.name)
    elseif target.port and s.port == target.port then
      places[#places + 1] = ("%s (%s, listener %s)"):format(place(s.address, s.port), s.scheme, s.name)
    end
  end
  if ports[1] then out[#out + 1] = ("%s is bound on port %s"):format(target.address, some(ports)) end
  if places[1] then out[#out + 1] = ("port %d is bound on other addresses: %s"):format(target.port, some(places)) end
  if waiting[1] then
    out[#out + 1] = ("in the plan, to be opened as soon as the address can be used: %s"):format(some(waiting))
  end
end

-- HTTPS where plain was looked for, and the other way round.
local function other_scheme(target, sockets, rules, facts, out)
  local t = rules.tomcat
  local other
  if target.port == t.Port.value then other = { "https", t.SecurePort, "HTTPS" } end
  if target.port == t.SecurePort.value then other = { "http", t.Port, "plain HTTP" } end
  if not other or not target.address then return end
  for _, s in ipairs(sockets) do
    if s.name == "http" and s.scheme == other[1] and covers(s, { address = target.address }) then
      local what = "this address speaks %s instead, on port %d (%s %s), because of %s"
      out[#out + 1] = what:format(other[3], s.port, where(other[2]), other[2].entry, entry_text(tls_entry(s, rules, facts) or s.because))
      return
    end
  end
end

-- Entries of tomcat.ini that name the address without effect, or lists in which it is missing, and the row that decides.
local function governing(target, sockets, rules, facts, out)
  local t, main = rules.tomcat, nil
  for _, s in ipairs(sockets) do
    main = main or s.name == "http" and s or nil
  end
  if not main then return end
  local row, address = main.because.row, target.address
  local bind = t.BindAddress
  if address and bind and not bind.value.family and not names(bind.value, address, facts, rules) then
    out[#out + 1] = ("BindAddress (%s) does not list %s"):format(where(bind), address)
  elseif address and bind and bind.value.family and bind.value.family ~= host.family_of(address) then
    out[#out + 1] = ("BindAddress (%s) takes addresses of IPv%d only"):format(where(bind), bind.value.family)
  end
  local S = t.SecureServer
  local in_S = address and type(S.value) == "table" and names(S.value, address, facts, rules)
  local in_X = address and names(t.secure, address, facts, rules)
  for _, e in ipairs { in_S and S or false, in_X or false } do
    if e and bind and not names(bind.value, address, facts, rules) then
      local what = "%s names %s, but is ignored for it: with BindAddress only what BindAddress lists is bound (row %s)"
      out[#out + 1] = what:format(entry_text(e), address, row)
    end
  end
  if address and not bind and not in_S and not in_X and (row == "R2" or row == "R5" or row == "R6") then
    out[#out + 1] = ("no Secure- entry and no SecureServer list names %s"):format(address)
  end
  if ROWS[row] then out[#out + 1] = ("tomcat.ini is governed by row %s: %s"):format(row, ROWS[row]) end
end

-- Listeners that would bind the port, were their service installed.
local function not_installed(target, sockets, rules, out)
  local there = {}
  for _, s in ipairs(sockets) do
    there[s.name] = true
  end
  for _, l in ipairs(rules.listeners) do
    for _, line in ipairs(l.sockets or { l }) do
      if line.Port and line.Port.value == target.port and not there[l.name] and not line.removed then
        local what = "listener %s (%s) has this port, but none of its services is installed here (Components)"
        out[#out + 1] = what:format(l.name, entry_text(line.Port))
      end
    end
  end
  local transfer = rules.tracker and rules.tracker.CommunicationsPort
  if transfer and target.port == transfer.value and not rules.components.tracker then
    local what = "port %d is the tracker's (%s), and no tracker is installed here (Components)"
    out[#out + 1] = what:format(target.port, entry_text(transfer))
  end
end

local function why_not(target, sockets, rules, facts, out)
  local here = not target.address or is_here(facts, target.address)
  if not here then not_here(target, facts, sockets, out) end
  if target.address and target.address:find(":", 1, true) and not facts.ipv6 then out[#out + 1] = "this machine has no IPv6" end
  neighbours(target, here, sockets, out)
  other_scheme(target, sockets, rules, facts, out)
  governing(target, sockets, rules, facts, out)
  not_installed(target, sockets, rules, out)
end

function explain.at(text, sockets, rules, facts)
  local target, why = parse(text)
  if not target then return nil, why end
  local here = not target.address or is_here(facts, target.address)
  local result = { bound = false, lines = {}, sockets = {} }
  local found, lines = {}, result.lines
  for i, s in ipairs(sockets) do
    if not s.waiting and covers(s, target) and (here or not addr.is_any(s.address)) then found[#found + 1] = i end
  end
  sort(found, function(a, b) return sockets[a].port < sockets[b].port or (sockets[a].port == sockets[b].port and a < b) end)
  for _, i in ipairs(found) do
    result.bound = true
    result.sockets[#result.sockets + 1] = i
    tell(sockets[i], target, rules, facts, lines)
  end
  if not result.bound then
    lines[1] = ("nothing binds %s"):format(target.text)
    local reasons = {}
    why_not(target, sockets, rules, facts, reasons)
    for _, line in ipairs(reasons) do
      lines[#lines + 1] = "  " .. line
    end
  end
  return result
end

return explain
