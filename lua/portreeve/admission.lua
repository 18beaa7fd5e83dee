-- Rules of admission, for policies/admission.lua:
--   local admission = require "portreeve.admission"
--   local rule, rules = admission.rule, admission.rules
--   return rules { rule.refuse_listed "denied", rule.restriction(), …, rule.at("hello", function(facts) … end) }
-- The rules are asked in order; the first that says allow or refuse decides. All but rule.at are compiled to C (src/gate/rule_ops.c) and
-- never enter Lua in the server; here each says the same in Lua, which is what tests of policies run.
local verdict = require "portreeve.verdict"
local near = require "portreeve.near"
local error, ipairs, math_type, pairs, setmetatable, tostring, type =
  error, ipairs, math.type, pairs, setmetatable, tostring, type
local getinfo = debug.getinfo
local _ENV = nil

local admission = { rule = {}, ops = {}, verdict = verdict }
local rule, ops = admission.rule, admission.ops
local stages = { peer = true, hello = true, identity = true, request = true }

-- ---- making rules ----

local option_names = { "listener", "listed", "except", "reset", "answer", "status", "stage" }
local options = {}
for _, name in ipairs(option_names) do options[name] = true end

local function fail(r, text) error(("%s:%d: %s: %s"):format(r.file, r.line, r.op, text), 0) end

local function list_name(r, v, what)
  if type(v) ~= "string" or not v:find("^[%w_.-]+$") or #v > 63 then
    fail(r, ("%s is the name of an address list (lists/NAME.list), not %s"):format(what, tostring(v)))
  end
  return v
end

local function take_listeners(r, v)
  local list = type(v) == "table" and v or { v }
  if #list == 0 or #list > 8 then fail(r, "listener names one to eight listeners") end
  for _, name in ipairs(list) do
    if type(name) ~= "string" or name == "" or #name > 63 then fail(r, "listener is a listener's name, or a list of names") end
  end
  r.listener = list
end

local function take_answer(r, given)
  if given.answer == nil and given.status == nil then return end
  local text = given.answer or ""
  if type(text) ~= "string" or #text > 255 then fail(r, "answer is a text of 255 bytes at most") end
  local status = given.status or r.status or 403
  if math_type(status) ~= "integer" or status < 400 or status > 599 then fail(r, "status is a number from 400 to 599") end
  if given.reset then fail(r, "reset and answer exclude each other") end
  r.how, r.text, r.status = "answer", text, status
end

local function take_options(r, given)
  if given == nil then return r end
  if type(given) ~= "table" then fail(r, ("options are a table such as { except = \"clients\" }, not %s"):format(tostring(given))) end
  for name in pairs(given) do
    if not options[name] then
      local meant = type(name) == "string" and near.best(name, option_names)
      fail(r, ("there is no option '%s'%s"):format(tostring(name), meant and ", did you mean " .. meant .. "?" or ""))
    end
  end
  if given.listener ~= nil then take_listeners(r, given.listener) end
  if given.listed ~= nil then r.listed = list_name(r, given.listed, "listed") end
  if given.except ~= nil then r.except = list_name(r, given.except, "except") end
  if given.reset then r.how = "reset" end
  take_answer(r, given)
  if given.stage ~= nil then
    if not stages[given.stage] then fail(r, "stage is peer, hello, identity or request") end
    r.stage = given.stage
  end
  return r
end

-- A rule made at the place in the policy that called the constructor.
local function new(op, fields)
  local at = getinfo(3, "Sl")
  local r = fields or {}
  r.op, r.file, r.line, r.stage = op, at.short_src, at.currentline, r.stage or "peer"
  return r
end

local function take_number(r, n, least, most)
  if n == nil then return end
  if math_type(n) ~= "integer" or n < least or n > most then
    fail(r, ("%s is no whole number from %d to %d"):format(tostring(n), least, most))
  end
  r.number = n
end

-- Callers in this list are refused (G10).
function rule.refuse_listed(list, given)
  local r = new "refuse_listed"
  r.list = list_name(r, list, "the first argument")
  return take_options(r, given)
end

-- Only callers in this list come in.
function rule.only_listed(list, given)
  local r = new "only_listed"
  r.list = list_name(r, list, "the first argument")
  return take_options(r, given)
end

-- The same, but the session starts and is told so with a 403 page (G15).
function rule.clients_only(list, given)
  local r = new("clients_only", { how = "answer", status = 403, text = "This service is for clients only." })
  r.list = list_name(r, list or "clients", "the first argument")
  return take_options(r, given)
end

-- Callers in this list (without one: all) come in; the rules behind are not asked.
function rule.allow(list, given)
  local r = new "allow"
  if list ~= nil then r.list = list_name(r, list, "the first argument") end
  return take_options(r, given)
end

-- Refused, all whom the options name: rule.refuse { listener = "smtp", except = "partners" }.
function rule.refuse(given)
  return take_options(new "refuse", given)
end

-- The listener's Restriction (None, Grant, Deny) and List (G11, G12).
function rule.restriction(given)
  return take_options(new "restriction", given)
end

-- Connections of one caller: the listener's MaxPerAddress, or n (G24). Members of the cluster are not counted out (G25).
function rule.per_address(n, given)
  local r = new("per_address", { except = "cluster" })
  take_number(r, n, 1, 1000000)
  return take_options(r, given)
end

-- Connections of the listener: its MaxConnections, or n (G27).
function rule.maximum(n, given)
  local r = new "maximum"
  take_number(r, n, 1, 1000000)
  return take_options(r, given)
end

-- The last places of the listener's MaxConnections are for callers in this list: its Reserve, or n of them (G26).
function rule.reserve(list, n, given)
  local r = new "reserve"
  r.list = list_name(r, list or "clients", "the first argument")
  take_number(r, n, 0, 1000000)
  return take_options(r, given)
end

-- Addresses banned with `portreeve ban`.
function rule.banned(given)
  return take_options(new "banned", given)
end

-- How often one caller, or one net, may connect, begin TLS and send requests: the listener's Rate… entries. Members of the cluster may as
-- often as they like. A request that comes too soon is told so, what comes too soon before that is closed: a rule at each of three stages.
function rule.rates(given)
  local connections = new("rate_connections", { except = "cluster" })
  local handshakes = new("rate_handshakes", { except = "cluster", stage = "hello" })
  local requests = new("rate_requests", { except = "cluster", stage = "request", how = "answer", status = 429,
                                          text = "Too many requests." })
  if type(given) == "table" and given.stage ~= nil then fail(connections, "rates have stages of their own: leave stage out") end
  return { several = { take_options(connections, given), take_options(handshakes, given), take_options(requests, given) } }
end

-- Give the connection a name.
function rule.tag(name, given)
  local r = new "tag"
  if type(name) ~= "string" or #name > 31 or not name:find("^[%w_.-]+$") then
    fail(r, "a tag is a name of at most 31 letters, digits, '-', '_' and '.'")
  end
  r.word = name
  return take_options(r, given)
end

-- From here on only these services: rule.only("tracker", { except = "office" }).
function rule.only(services, given)
  local r = new "only"
  r.services = verdict.services(services, 2)
  return take_options(r, given)
end

-- Wait so many milliseconds before going on.
function rule.delay(ms, given)
  local r = new "delay"
  take_number(r, ms or -1, 1, verdict.longest_delay)
  return take_options(r, given)
end

-- A rule of your own: judge(facts) -> nil, or verdicts (portreeve.verdict). stage: "peer", "hello", "identity" or "request".
function rule.at(stage, judge, given)
  local r = new "lua"
  if not stages[stage] then fail(r, "stage is peer, hello, identity or request") end
  if type(judge) ~= "function" then fail(r, "a rule of your own is a function(facts)") end
  r.stage, r.judge = stage, judge
  return take_options(r, given)
end

-- ---- what they say, in Lua ----

local function refuse(r, reason, because)
  local v = { refuse = reason, because = because, how = r.how }
  if r.how == "answer" then v.status, v.text = r.status, r.text end
  return v
end

local function unlisted(r, facts, reason)
  if facts:listed(r.list) then return nil end
  return refuse(r, reason, facts:spoken(r.list) or "not in list " .. r.list)
end

local function over(r, facts, reason, entry, limit)
  if r.number then return refuse(r, reason, ("%s(%d) of %s:%d"):format(r.op, r.number, r.file, r.line)) end
  return refuse(r, reason, ("%s=%d of listener %s%s"):format(entry, limit, facts.listener, facts:limit_at(entry)))
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
    return refuse(r, "restriction", facts:spoken(list) or "not in list " .. list)
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
  local because = facts:over_rate(kind)
  return because and refuse(r, "rate", because)
end
function ops.rate_connections(r, facts) return rate(r, facts, "connections") end
function ops.rate_handshakes(r, facts) return rate(r, facts, "handshakes") end
function ops.rate_requests(r, facts) return rate(r, facts, "requests") end

function ops.tag(r) return { tag = r.word } end
function ops.only(r) return { only = r.services } end
function ops.delay(r) return { delay = r.number } end
function ops.lua(r, facts) return r.judge(facts) end

local function applies(r, facts)
  local here = not r.listener
  for _, name in ipairs(r.listener or {}) do here = here or name == facts.listener end
  return here and (not r.listed or facts:listed(r.listed)) and (not r.except or not facts:listed(r.except))
end

-- ---- the list ----

-- Tags of a test's facts grow as the server's do.
local function note_tag(facts, name)
  if type(facts) == "table" and type(facts.tags) == "table" then facts.tags[name] = true end
end

-- Sum up what one rule returned in `more`; the verdict where it is final.
local function take(more, facts, v)
  if v == nil or v == "allow" then return v end
  if type(v) ~= "table" then error(("a verdict is one of portreeve.verdict, this is a %s"):format(type(v)), 0) end
  if v.refuse then return v end
  if v.tag then
    if not more.tagged[v.tag] and #more.tags < 8 then
      more.tags[#more.tags + 1] = v.tag
      more.tagged[v.tag] = true
      note_tag(facts, v.tag)
    end
  elseif v.delay then
    more.delay = more.delay + v.delay
    if more.delay > verdict.longest_delay then more.delay = verdict.longest_delay end
  elseif v.only then
    local now = {}
    for _, name in ipairs(v.only) do
      if not more.only or more.only[name] then now[name] = true end
    end
    more.only = now
  else
    error("a verdict is one of portreeve.verdict, this table is none", 0)
  end
end

local function first(more, facts, v, ...)
  if v == nil then return nil end
  return take(more, facts, v) or first(more, facts, ...)
end

-- What the list says of these facts at their stage: "allow" or a refusal; then { tags =, delay =, only = set or nil, rule = who decided }.
local function judge(list, facts)
  local more = { tags = {}, tagged = {}, delay = 0 }
  for i, r in ipairs(list.rules) do
    if r.stage == facts.stage and applies(r, facts) then
      local v = first(more, facts, ops[r.op](r, facts))
      if v then
        more.rule = i
        return v, more
      end
    end
  end
  return "allow", more
end

local meta = { __call = judge, __name = "rules", __metatable = "rules" }
local made = setmetatable({}, { __mode = "k" })

-- What is one rule to read may be several to ask.
local function flat(given)
  local out, n, whole = {}, 0, 0
  for key, value in pairs(given) do
    if math_type(key) == "integer" then whole = whole + 1 else out[key] = value end
  end
  if whole ~= #given then return given end -- the checks below find the hole
  for i = 1, #given do
    local several = type(given[i]) == "table" and given[i].several or { given[i] }
    for k = 1, #several do
      n = n + 1
      out[n] = several[k]
    end
  end
  return out
end

-- `return rules { … }` leaves no line behind, so the rule before says where; a constructor that was not called is known by its name.
local function place_of(at, given, key)
  if at.currentline > 0 then return ("%s:%d: "):format(at.short_src, at.currentline) end
  local near_by
  for i = 1, #given do
    local r = given[i]
    if type(r) == "table" and r.line and (i <= key or not near_by) then near_by = r end
  end
  return near_by and ("%s:%d: "):format(near_by.file, near_by.line) or "policies/admission.lua: "
end

local function no_rule(here, key, given)
  local what = 'write rule.NAME(…), or rule.at("peer", function(facts) … end)'
  for name, constructor in pairs(rule) do
    if given == constructor then what = ("behind rule.%s its parentheses are missing: rule.%s()"):format(name, name) end
  end
  return ("%sentry %d is no rule: %s"):format(here, key, what)
end

-- The policy: rules in order, and
--   on_error = when a rule of Lua fails: "closed" (refuse; so without it) or "last" (what this rule last said of this address;
--   refuse where it has said nothing)
--   suspend_after = so many failures within a minute suspend the rules of Lua for the built-in ones until the next reload
--   (0 = never; without it 100)
function admission.rules(given)
  local at = getinfo(2, "Sl")
  given = flat(given)
  local here = place_of(at, given, #given)
  local list = { rules = {}, on_error = given.on_error or "closed", suspend_after = given.suspend_after or 100 }
  if list.on_error ~= "closed" and list.on_error ~= "last" then error(here .. "on_error is \"closed\" or \"last\"", 0) end
  if math_type(list.suspend_after) ~= "integer" or list.suspend_after < 0 or list.suspend_after > 1000000 then
    error(here .. "suspend_after is a whole number from 0 to 1000000", 0)
  end
  if #given > 256 then error(here .. "more than 256 rules", 0) end
  for key, r in pairs(given) do
    if math_type(key) == "integer" then
      if type(r) ~= "table" or not ops[r.op] then
        error(no_rule(place_of(at, given, key), key, r), 0)
      end
    elseif key ~= "on_error" and key ~= "suspend_after" then
      error(here .. ("there is no setting '%s' (on_error, suspend_after)"):format(tostring(key)), 0)
    end
  end
  for i, r in ipairs(given) do list.rules[i] = r end
  if #list.rules ~= #given then error(here .. "there is a hole among the rules", 0) end
  made[list] = true
  return setmetatable(list, meta)
end

-- For the server: a policy's value as { rules = {…}, on_error =, suspend_after = }; nil, err where it is none.
function admission.compile(value, display)
  if type(value) == "function" then
    local at = getinfo(value, "S")
    return { rules = { { op = "lua", stage = "peer", file = at.short_src, line = at.linedefined, judge = value, strict = true } },
             on_error = "closed", suspend_after = 100 }
  end
  if type(value) == "table" and made[value] then return value end
  return nil, ("%s: the file must return rules { … } of portreeve.admission, or a function(facts); it returns a %s"):format(
    display, type(value))
end

-- A name that is none is told of, with the line it stands on.
local function known(t, what)
  return setmetatable(t, { __index = function(_, name)
    local names, at = {}, getinfo(2, "Sl")
    for other in pairs(t) do names[#names + 1] = other end
    local meant = near.best(tostring(name), names)
    error(("%s:%d: there is no %s.%s%s"):format(at.short_src, at.currentline, what, tostring(name),
      meant and (", did you mean %s.%s?"):format(what, meant) or ""), 0)
  end })
end
known(rule, "rule")

return admission
