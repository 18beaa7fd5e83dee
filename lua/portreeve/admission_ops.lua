-- What each rule says of facts, in Lua: what tests of policies run, and the measure of the same in C (src/gate/rule_ops.c).
local _ENV = nil

local ops = {}

-- entry: of the listener, where that is what says no.
local function refuse(r, reason, because, entry)
  local v = { refuse = reason, because = because, entry = entry, how = r.how }
  if r.how == "answer" then v.status, v.text = r.status, r.text end
  return v
end

local function unlisted(r, facts, reason)
  if facts:listed(r.list) then return nil end
  return refuse(r, reason, facts:spoken(r.list) or "not in list " .. r.list)
end

local function over(r, facts, reason, entry, limit)
  if r.number then return refuse(r, reason, ("%s(%d) of %s:%d"):format(r.op, r.number, r.file, r.line)) end
  return refuse(r, reason, ("%s=%d of listener %s%s"):format(entry, limit, facts.listener, facts:limit_at(entry)), entry)
end

function ops.refuse_listed(r, facts)
  local line = facts:listed(r.list)
  return line and refuse(r, "denied", line)
end

function ops.only_listed(r, facts) return unlisted(r, facts, "restriction") end
function ops.clients_only(r, facts) return unlisted(r, facts, "clients") end
function ops.allow(r, facts) return (not r.list or facts:listed(r.list)) and "allow" or nil end
function ops.refuse(r) return refuse(r, "policy", ("%s:%d"):format(r.file, r.line)) end

function ops.restriction(r, facts)
  local kind, list = facts.restriction, facts.list
  if kind == "deny" then
    local line = facts:listed(list)
    return line and refuse(r, "restriction", line)
  elseif kind == "grant" and not facts:listed(list) then
    local line = facts:spoken(list)
    return refuse(r, "restriction", line or "not in list " .. list, not line and "List" or nil)
  end
end

function ops.per_address(r, facts)
  local limit = r.number or facts.per_address
  if limit > 0 and facts.active_from_address > limit then return over(r, facts, "per-address", "MaxPerAddress", limit) end
end

function ops.maximum(r, facts)
  local limit = r.number or facts.maximum
  if limit > 0 and facts.active > limit then return over(r, facts, "maximum", "MaxConnections", limit) end
end

-- facts.active counts this connection: with as many places free as are reserved, or fewer, only clients come in.
function ops.reserve(r, facts)
  local keep, most = r.number or facts.reserve, facts.maximum
  if most == 0 or keep == 0 or most - (facts.active - 1) > keep or facts:listed(r.list) then return nil end
  return over(r, facts, "reserve", "Reserve", facts.reserve)
end

function ops.banned(r, facts)
  local because = facts:banned()
  return because and refuse(r, "banned", because)
end

local function rate(r, facts, kind)
  local because, entry = facts:over_rate(kind)
  return because and refuse(r, "rate", because, entry)
end
function ops.rate_connections(r, facts) return rate(r, facts, "connections") end
function ops.rate_handshakes(r, facts) return rate(r, facts, "handshakes") end
function ops.rate_requests(r, facts) return rate(r, facts, "requests") end

function ops.tag(r) return { tag = r.word } end
function ops.only(r) return { only = r.services } end
function ops.delay(r) return { delay = r.number } end
function ops.lua(r, facts) return r.judge(facts) end

return ops
