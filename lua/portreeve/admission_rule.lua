-- The constructors of rules (portreeve.admission.rule): each gives { op =, file =, line =, stage =, … }, which src/script/rules_read.c
-- compiles and portreeve.admission_ops says in Lua.
local verdict = require "portreeve.verdict"
local near = require "portreeve.near"
local error, ipairs, math_type, pairs, tostring, type = error, ipairs, math.type, pairs, tostring, type
local getinfo = debug.getinfo
local _ENV = nil

local rule = {}

local stages = { peer = true, hello = true, identity = true, request = true }
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

return rule
