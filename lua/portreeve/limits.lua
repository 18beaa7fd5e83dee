-- The counts and rates of a listener as the plan wants them, each with the line that set it, so that a refusal can name it. Pure.
--   limits.of(listener, line) -> { give_way =, rates = { connections = { 100, 10000 }, … }, bits = { ipv6 = 56 },
--                                  lines = { MaxPerAddress = 12 }, file = "conf/listeners.ini" }; what is not set is nil
-- listener: the section of listeners.ini, whose counts are those of all its sockets; line: the section or the row that makes the socket.
local ipairs, next = ipairs, next
local _ENV = nil

local limits = {}

local rates = {
  RateConnections = "connections", RateHandshakes = "handshakes", RateRequests = "requests",
  RateConnectionsPerNet = "connections_net", RateHandshakesPerNet = "handshakes_net", RateRequestsPerNet = "requests_net",
}
local bits = { PrefixIPv4 = "ipv4", PrefixIPv6 = "ipv6", NetIPv4 = "net_ipv4", NetIPv6 = "net_ipv6" }
local placed = {
  "MaxConnections", "MaxPerAddress", "Reserve", "RateConnections", "RateHandshakes", "RateRequests", "RateConnectionsPerNet",
  "RateHandshakesPerNet", "RateRequestsPerNet",
}
local line_placed = { "Proxy", "ProxyFrom", "ClientCertificate", "ClientCA" }
local LINE_SET = 4294967295 -- PLAN_LINE_SET: given by --set

local function place(out, name, e)
  if not e or e.file == "" then return end
  if e.file ~= "--set" then out.file = e.file end
  out.lines[name] = e.file == "--set" and LINE_SET or e.line
end

local function filled(t)
  return next(t) ~= nil and t or nil
end

function limits.of(listener, line)
  local out, r, b = { lines = {} }, {}, {}
  for entry, name in next, rates do
    local value = listener[entry].value
    if value[1] > 0 then r[name] = value end
  end
  for entry, name in next, bits do
    if listener.given[entry] then b[name] = listener[entry].value end
  end
  for _, entry in ipairs(placed) do
    place(out, entry, listener[entry])
  end
  for _, entry in ipairs(line_placed) do
    place(out, entry, line[entry])
  end
  place(out, "List", line.Restriction.value ~= "None" and line.List)
  out.give_way = listener.GiveWay.value == "On" or nil
  out.rates, out.bits, out.lines = filled(r), filled(b), filled(out.lines)
  return out
end

return limits
