-- Rules of admission, for policies/admission.lua:
--   local admission = require "portreeve.admission"
--   local rule, rules = admission.rule, admission.rules
--   return rules { rule.refuse_listed "denied", rule.restriction(), …, rule.at("hello", function(facts) … end) }
-- The rules are asked in order; the first that says allow or refuse decides. All but rule.at are compiled to C (src/gate/rule_ops.c) and
-- never enter Lua in the server; portreeve.admission_ops says each in Lua, which is what tests of policies run. How rules are made:
-- portreeve.admission_rule.
local ops = require "portreeve.admission_ops"
local rule = require "portreeve.admission_rule"
local verdict = require "portreeve.verdict"
local near = require "portreeve.near"
local error, ipairs, math_type, pairs, select, setmetatable, tostring, type =
  error, ipairs, math.type, pairs, select, setmetatable, tostring, type
local getinfo = debug.getinfo
local _ENV = nil

local admission = { rule = rule, verdict = verdict }

local function applies(r, facts)
  local here = not r.listener
  for _, name in ipairs(r.listener or {}) do here = here or name == facts.listener end
  return here and (not r.listed or facts:listed(r.listed)) and (not r.except or not facts:listed(r.except))
end

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

-- The first final verdict of n values; nil says nothing, so what stands behind it counts.
local function first(more, facts, n, v, ...)
  if n > 16 then error(("%d verdicts: a rule may return 16"):format(n), 0) end
  if n == 0 then return nil end
  return v ~= nil and take(more, facts, v) or first(more, facts, n - 1, ...)
end

local function sum_up(more, facts, ...) return first(more, facts, select("#", ...), ...) end

-- What the list says of these facts at their stage: "allow" or a refusal; then { tags =, delay =, only = set or nil, rule = who decided }.
local function judge(list, facts)
  local more = { tags = {}, tagged = {}, delay = 0 }
  for i, r in ipairs(list.rules) do
    if r.stage == facts.stage and applies(r, facts) then
      local v = sum_up(more, facts, ops[r.op](r, facts))
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
