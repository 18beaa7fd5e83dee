-- The bind plan under construction: what bind.lua returns. A value, nothing is opened here.
--   local plan = require "portreeve.plan"
--   local p = plan.new()
--   p:socket { name = "http", address = "127.0.0.1", port = 8080, scheme = "http", services = { "tracker" }, because = rules.tomcat.Port }
-- addresses = { … } instead of address: a socket on each, alike in everything else.
-- `because` is an entry of the rules (or {file=,line=,entry=,row=}); the constructor adds the line of the policy that called it.
local getinfo = debug.getinfo
local host = require "portreeve.host"
local error, pairs, select, setmetatable, type = error, pairs, select, setmetatable, type
local _ENV = nil

local plan = { host = host } -- plan.host.locate(host, address), plan.host.addresses(host, family)
local methods = {}
local MOST = 16384 -- PLAN_MAX_SOCKETS
local count = setmetatable({}, { __mode = "k" }) -- plan -> its sockets
local full = setmetatable({}, { __mode = "k" }) -- plans that have too many, and were told so

local known = {
  name = "string", address = "string", addresses = "table", port = "number", scheme = "string", services = "table",
  certificate = "string", because = "table", external = "boolean", restriction = "string", list = "string",
  max_connections = "number", max_per_address = "number", reserve = "number", backlog = "number", when_missing = "string",
  waiting = "boolean", transport = "string", script = "string", labels = "string",
  proxy = "string", proxy_from = "string", proxy_inside = "boolean",
  give_way = "boolean", rates = "table", bits = "table", limit_lines = "table", limit_file = "string",
  backends = "string", proxy_out = "string", client = "string", client_ca = "string",
}

-- "policies/bind.lua:41" of the function `level` calls up.
local function here(level)
  local at = getinfo(level + 1, "Sl")
  return at and at.currentline > 0 and at.source:gsub("^@", "") .. ":" .. at.currentline or ""
end

-- The line of the caller: for tables of rules whose rows want to be named.
function plan.here()
  local where = here(2) -- no tail call: it would take this frame away
  return where
end

local needed = { "name", "port", "scheme", "services", "because" }

function methods:socket(s)
  -- With room for all fields: a table that grows one by one is made anew five times, and there may be thousands of sockets.
  local copy = {
    name = nil, address = nil, addresses = nil, port = nil, scheme = nil, services = nil, certificate = nil, because = nil, external = nil,
    restriction = nil, list = nil, max_connections = nil, max_per_address = nil, reserve = nil, backlog = nil, when_missing = nil,
    waiting = nil, transport = nil, script = nil, labels = nil, proxy = nil, proxy_from = nil, proxy_inside = nil,
    give_way = nil, rates = nil, bits = nil, limit_lines = nil, limit_file = nil,
    backends = nil, proxy_out = nil, client = nil, client_ca = nil,
  }
  for key, value in pairs(s) do
    local want = known[key]
    if not want then error(("a socket has no field '%s'"):format(key), 2) end
    if type(value) ~= want then error(("field '%s' of a socket is a %s, not a %s"):format(key, want, type(value)), 2) end
    copy[key] = value
  end
  for i = 1, #needed do
    if copy[needed[i]] == nil then error(("a socket needs the field '%s'"):format(needed[i]), 2) end
  end
  if (copy.address == nil) == (copy.addresses == nil) then
    error("a socket needs the field 'address', or 'addresses' for several that are alike", 2)
  end
  count[self] = (count[self] or 0) + (copy.addresses and #copy.addresses or 1)
  if count[self] > MOST then
    if not full[self] then
      self:refuse(copy.because, "a plan has at most %d sockets, and this is one more: open a wildcard instead of each address", MOST)
    end
    full[self] = true
    return copy
  end
  local b = copy.because
  copy.because = { file = b.file or "", line = b.line or 0, entry = b.entry or "", row = b.row or "", policy = b.policy or here(2) }
  self.sockets[#self.sockets + 1] = copy
  return copy
end

-- Where a tunnel leads: b = { set = the name that sockets have in `backends`, sni = server name or nil for all others,
-- to = "ADDRESS:PORT,…", because = entry }.
function methods:backend(b)
  local from = b.because or error("a backend needs the field 'because'", 2)
  self.backends = self.backends or {}
  self.backends[#self.backends + 1] = { set = b.set, sni = b.sni, to = b.to,
    because = { file = from.file or "", line = from.line or 0, entry = from.entry or "", row = "", policy = from.policy or here(2) } }
end

-- "conf/tomcat.ini:7: BindAddress: text"; at is an entry of the rules, or nil.
local function placed(at, text, ...)
  if select("#", ...) > 0 then text = text:format(...) end
  if not at or (at.file or "") == "" then return text end
  local place = (at.line or 0) > 0 and ("%s:%d"):format(at.file, at.line) or at.file
  return ("%s: %s: %s"):format(place, at.entry, text)
end

-- Something an operator should know; the plan stands all the same.
function methods:warn(at, text, ...)
  self.warnings[#self.warnings + 1] = placed(at, text, ...)
end

-- A fault that refuses the whole plan. Several can be collected; the gate shows them all.
function methods:refuse(at, text, ...)
  self.errors[#self.errors + 1] = placed(at, text, ...)
end

local meta = { __index = methods }

function plan.new()
  return setmetatable({ sockets = {}, warnings = {}, errors = {} }, meta)
end

return plan
