-- Facts, requests, rules and machines for tests of policies: plain tables with the methods of the real thing.
local rules = require "portreeve.rules"
local error, ipairs, pairs, setmetatable, tostring, type = error, ipairs, pairs, setmetatable, tostring, type
local _ENV = nil

local fake = {}

-- A misspelled field is an error here as it is in the server.
local strict = function(what, methods)
  return {
    __index = function(_, key)
      if methods[key] then return methods[key] end
      error(("%s has no field '%s'"):format(what, tostring(key)), 2)
    end,
  }
end

local function copy(defaults, given)
  local out = {}
  for key, value in pairs(defaults) do
    out[key] = value
  end
  for key, value in pairs(given or {}) do
    out[key] = value
  end
  return out
end

-- fake.facts{ address = "192.0.2.9", lists = { denied = { ["192.0.2.9"] = "conf/lists/denied.list:3" } } }
-- A line that takes an address out of a list: lists = { NAME = { ["192.0.2.9"] = { out = "conf/lists/NAME.list:4" } } }
-- stage = "hello", "identity" or "request" (default "peer"): what is not known yet at the stage is an error, as in the server. What TLS or
-- a request would have told and is not given is nil. fake.at(facts, "request", { path = "/x" }) takes the same connection to a later stage.
local from = {
  sni = 2, alpn = 2, ja4 = 2, tls = 3, cipher = 3, certificate = 3, certificate_issuer = 3, certificate_names = 3, certificate_sha256 = 3,
  certificate_serial = 3, certificate_not_after = 3, certificate_verified = 3, certificate_reason = 3,
  method = 4, path = 4, query = 4, host = 4,
}
local stages = { peer = 1, hello = 2, identity = 3, request = 4 }
local names = { "peer", "hello", "identity", "request" }

local function known_at(self, what, stage)
  if stages[self.stage] < stage then
    error(("facts.%s is not known at stage %s: it comes at stage %s"):format(what, self.stage, names[stage]), 3)
  end
end

local fact_methods = {}
local function hit(self, name)
  local list = self.lists[name]
  if not list then error(("there is no address list '%s'"):format(tostring(name)), 3) end
  return list[self.address]
end
function fact_methods:listed(name)
  local line = hit(self, name)
  return line and not (line.out and true) and line or nil
end
function fact_methods:spoken(name)
  local line = hit(self, name)
  return line and (line.out or line) or nil
end
-- ban = "why": the caller is banned; over = { requests = "why" }: it comes too often.
function fact_methods:banned() return self.ban or nil end
function fact_methods:over_rate(kind) return self.over[kind] end
function fact_methods:limit_at() return "" end
function fact_methods:tagged(name) return self.tags[name] or false end
function fact_methods:header(...)
  known_at(self, "header", 4)
  for _, name in ipairs { ... } do
    local value = self.headers[name:lower()]
    if value then return value end
  end
  return nil
end

local fact_meta = {
  __index = function(self, key)
    if fact_methods[key] then return fact_methods[key] end
    local stage = from[key]
    if not stage then error(("facts has no field '%s'"):format(tostring(key)), 2) end
    known_at(self, key, stage)
    return self.later[key]
  end,
}

function fake.facts(given)
  local f = copy({
    stage = "peer", address = "192.0.2.1", port = 40000, local_address = "192.0.2.254", local_port = 80, listener = "http",
    services = "tracker,ui,hub", restriction = "none", active = 1, maximum = 0, reserve = 0, active_from_address = 1, per_address = 0,
    secure = "none", now = 1700000000000, ban = false, over = {}, lists = {}, label = {}, tags = {}, headers = {},
  }, given)
  if not stages[f.stage] then error("a stage is peer, hello, identity or request", 2) end
  for _, name in ipairs { "denied", "clients", "cluster", "admin", "components" } do
    f.lists[name] = f.lists[name] or {}
  end
  f.list = f.list or false
  f.later = {}
  for key in pairs(from) do
    f.later[key], f[key] = f[key], nil
  end
  return setmetatable(f, fact_meta)
end

-- The same connection at a later stage; `more`: what is known now.
function fake.at(facts, stage, more)
  if not stages[stage] then error("a stage is peer, hello, identity or request", 2) end
  facts.stage = stage
  for key, value in pairs(more or {}) do
    if from[key] then facts.later[key] = value else facts[key] = value end
  end
  return facts
end

-- fake.req{ path = "/trk/o/x", services = { tracker = true }, lists = { admin = { ["127.0.0.1"] = "conf/lists/admin.list:2" } } }
local req_methods = {}
function req_methods:starts(prefix) return self.path:sub(1, #prefix) == prefix end
function req_methods:offers(service) return self.services[service] or false end
function req_methods:fits(prefix, service) return self:starts(prefix) and self:offers(service) end
function req_methods:header(name) return self.headers[name:lower()] end
function req_methods:tagged(name) return self.tags[name] or false end
function req_methods:listed(name)
  local list = self.lists[name]
  if not list then error(("there is no address list '%s'"):format(tostring(name)), 2) end
  return list[self.address]
end
local no_certificate = { certificate = true, certificate_names = true, certificate_sha256 = true } -- nil unless given
local req_strict = strict("req", req_methods).__index
local req_meta = {
  __index = function(self, key)
    if no_certificate[key] then return nil end
    return req_strict(self, key)
  end,
}

function fake.req(given)
  return setmetatable(copy({
    method = "GET", path = "/", query = false, host = "localhost",
    address = "192.0.2.1", local_address = "192.0.2.254", listener = "http",
    secure = "none", now = 1700000000000, body = "",
    headers = {}, services = { tracker = true, ui = true, hub = true }, lists = { admin = {} }, tags = {},
  }, given), req_meta)
end

-- fake.rules{ ["tomcat.ini"] = { { "Port", "8080" }, … } }: the rules those entries make, the line being the entry's place in the list.
-- Files that are no INI files (services, my.ini) are texts. Raises where they hold an error; the second result are the warnings.
function fake.rules(files)
  local texts = {}
  for name, entries in pairs(files) do
    local list, text = {}, type(entries) == "string" and entries or nil
    for i, e in ipairs(text and {} or entries) do
      list[i] = { key = e[1], value = e[2], line = i }
    end
    texts[name] = { display = "conf/" .. name, entries = list, text = text }
  end
  local r, report = rules.build(texts)
  if report.errors[1] then error(report.errors[1], 2) end
  return r, report.warnings
end

-- fake.host{ "127.0.0.1", "::1", "fe80::1%eth0", … }: a machine with these addresses. "%" names the interface; more: further interfaces.
function fake.host(list, ipv6, more)
  local addresses, any6, scopes, n = {}, false, {}, 0
  for i, text in ipairs(list) do
    local ip, interface = text:match("^([^%%]+)%%?(.*)$")
    if interface == "" then interface = "lo" end
    if not scopes[interface] then
      n = n + 1
      scopes[interface] = n
    end
    addresses[i] = { ip = ip, interface = interface, scope = scopes[interface], tentative = false }
    any6 = any6 or ip:find(":", 1, true) ~= nil
  end
  if ipv6 == nil then ipv6 = any6 end
  local interfaces = {}
  for interface, scope in pairs(scopes) do
    interfaces[scope] = interface
  end
  for _, interface in ipairs(more or {}) do
    interfaces[#interfaces + 1] = interface
  end
  return { addresses = addresses, interfaces = interfaces, ipv6 = ipv6 }
end

-- The sockets of a plan as short texts, in the order of the plan: "http://127.0.0.1:80", "https://[::1]:443 default",
-- "http://192.0.2.7:80 (waiting)", "http://192.0.2.7:80 (freebind)".
function fake.sockets(plan, listener)
  local out = {}
  for _, s in ipairs(plan.sockets) do
    for _, address in ipairs(s.name == (listener or "http") and (s.addresses or { s.address }) or {}) do
      local host = address:find(":", 1, true) and "[" .. address .. "]" or address
      local state = s.waiting and " (waiting)" or s.when_missing == "freebind" and " (freebind)" or ""
      out[#out + 1] = ("%s://%s:%d%s%s"):format(s.scheme, host, s.port, s.certificate and " " .. s.certificate or "", state)
    end
  end
  return out
end

return fake
