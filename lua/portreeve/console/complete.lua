-- What may follow the beginning of a word: names of the console's functions, fields of what they return now, listeners' names.
local ipairs, pairs, pcall, tonumber, type = ipairs, pairs, pcall, tonumber, type
local sort = table.sort
local _ENV = nil

local MOST = 200

local function starts(s, beginning)
  return type(s) == "string" and s:sub(1, #beginning) == beginning
end

-- "listeners()[2].because" -> the table, by looking: only functions of `harmless` are called, nothing is evaluated.
local function look_up(path, env, harmless)
  local name, rest = path:match "^([%a_][%w_]*)(.*)$"
  local v = name and env[name]
  if name and rest:sub(1, 2) == "()" then
    if not harmless[name] then return nil end
    local fine
    fine, v = pcall(v)
    if not fine then return nil end
    rest = rest:sub(3)
  end
  while rest ~= "" and type(v) == "table" do
    local index, after = rest:match "^%[(%d+)%](.*)$"
    local field, behind = rest:match "^%.([%a_][%w_]*)(.*)$"
    if index then
      v, rest = v[tonumber(index)], after
    elseif field then
      v, rest = v[field], behind
    else
      return nil
    end
  end
  return type(v) == "table" and rest == "" and v or nil
end

local function names_of(env, beginning, before, out)
  for k, v in pairs(env) do
    if starts(k, beginning) and k:find "^[%a_][%w_]*$" then
      out[#out + 1] = before .. k .. (type(v) == "function" and before == "" and "(" or "")
    end
  end
end

-- complete(word, env, harmless, methods) -> sorted array of whole words. env: name -> function or table; harmless: functions that only
-- read; methods: { listener = { set = function, … } }, what stands behind a dot.
local function complete(word, env, harmless, methods)
  local out = {}
  local call, quote, name = word:match "^([%a.]+)%(([\"'])([%w_.:%-]*)$"
  if call and call:match "^%a+" == "listener" then
    local fine, list = pcall(env.listeners)
    for _, l in ipairs(fine and list or {}) do
      if starts(l.name, name) then out[#out + 1] = call .. "(" .. quote .. l.name .. quote .. (call:find "%.[st]" and ", {" or ")") end
    end
  else
    local path, field = word:match "^(.*)%.([%w_]*)$"
    if path then
      local t = look_up(path, env, harmless)
      if t then names_of(t, field, path .. ".", out) end
      for m in pairs(methods and methods[path] or {}) do
        if starts(m, field) then out[#out + 1] = path .. "." .. m .. "(" end
      end
    elseif word:find "^[%a_]?[%w_]*$" then
      names_of(env, word, "", out)
    end
  end
  sort(out)
  local kept = {}
  for _, s in ipairs(out) do
    if s ~= kept[#kept] and #kept < MOST then kept[#kept + 1] = s end
  end
  return kept
end

return { complete = complete }
