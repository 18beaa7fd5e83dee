-- Runs what a NAME_test.lua returns: { ["what it proves"] = function(t) … end, … }. Used by the reload gate and by `portreeve test`.
-- t.eq(got, want[, what])  deep comparison      t.ok(v[, what])      t.fails(function, pattern)  must raise an error that matches
local error, pcall, type, pairs, next, tostring, ipairs = error, pcall, type, pairs, next, tostring, ipairs
local sort, concat = table.sort, table.concat
local format, find = string.format, string.find
local getinfo = debug and debug.getinfo
local _ENV = nil

local MOST_TESTS, DEEPEST, LONGEST = 1000, 12, 400

local function by_text(a, b)
  return tostring(a) < tostring(b)
end

-- A value as text for people: tables with sorted keys, bounded in depth; text is quoted.
local function show(v, depth)
  if type(v) == "string" then return format("%q", v) end
  if type(v) ~= "table" then return tostring(v) end
  if depth > DEEPEST then return "{…}" end
  local keys, parts = {}, {}
  for k in pairs(v) do keys[#keys + 1] = k end
  sort(keys, by_text)
  for _, k in ipairs(keys) do
    local name = type(k) == "string" and find(k, "^[%a_][%w_]*$") and k or "[" .. show(k, depth + 1) .. "]"
    parts[#parts + 1] = (type(k) == "number" and k <= #v and "" or name .. " = ") .. show(v[k], depth + 1)
    if #parts > 60 then
      parts[#parts + 1] = "…"
      break
    end
  end
  return "{" .. concat(parts, ", ") .. "}"
end

local function shown(v)
  local s = show(v, 0)
  return #s > LONGEST and s:sub(1, LONGEST) .. "…" or s
end

-- nil when equal, else where and how they differ.
local function difference(got, want, where, depth)
  if got == want then return nil end
  if type(got) ~= "table" or type(want) ~= "table" or depth > DEEPEST then
    return format("%sgot %s, want %s", where ~= "" and where .. ": " or "", shown(got), shown(want))
  end
  for k, v in pairs(want) do
    local d = difference(got[k], v, where .. "." .. tostring(k), depth + 1)
    if d then return d end
  end
  for k, v in pairs(got) do
    if want[k] == nil then return format("%s.%s: got %s, want nothing", where, tostring(k), shown(v)) end
  end
  return nil
end

-- "file:line: " of whoever called the check.
local function caller()
  local at = getinfo and getinfo(3, "Sl")
  return at and format("%s:%d: ", at.short_src, at.currentline) or ""
end

local t = {}
function t.eq(got, want, what)
  local d = difference(got, want, "", 0)
  if d then error(caller() .. (what and what .. ": " or "") .. d, 0) end
end
function t.ok(v, what)
  if not v then error(caller() .. (what or "the value is " .. tostring(v)), 0) end
end
function t.fails(f, pattern)
  local fine, message = pcall(f)
  if fine then error(caller() .. "no error was raised", 0) end
  if type(message) == "table" and message.message then message = message.message end
  if pattern and not find(tostring(message), pattern) then
    error(caller() .. format("the error says %s, which does not match %s", shown(message), shown(pattern)), 0)
  end
end

-- run(tests) -> { {name=, ok=true|false, message=}… } in order of names; nil, err where `tests` is no table of functions.
local function run(tests)
  if type(tests) ~= "table" or next(tests) == nil then
    return nil, 'a test file must return a table { ["what it proves"] = function(t) … end }'
  end
  local names, results = {}, {}
  for name, f in pairs(tests) do
    if type(name) ~= "string" or type(f) ~= "function" then return nil, format("test %s is no function under a name", shown(name)) end
    names[#names + 1] = name
    if #names > MOST_TESTS then return nil, format("more than %d tests in one file", MOST_TESTS) end
  end
  sort(names)
  for i, name in ipairs(names) do
    local checks = { eq = t.eq, ok = t.ok, fails = t.fails } -- a copy each: one test cannot spoil the next
    local fine, message = pcall(tests[name], checks)
    if type(message) == "table" and message.message then message = message.message end
    results[i] = { name = name, ok = fine, message = not fine and tostring(message) or nil }
  end
  return results
end

return { run = run, t = t }
