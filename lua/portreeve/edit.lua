-- Changes of configuration entries as portreeve.engine.edit takes them: { { file =, entry =, value = text or nil to remove }, … }.
-- What a listener's entries are called and what adding and removing one means is said here once, for the console and for the hub's pages.
local near = require "portreeve.near"
local schema = require "portreeve.schema"
local ipairs, pairs, tostring, type = ipairs, pairs, tostring, type
local math_type = math.type
local concat, move, sort = table.concat, table.move, table.sort
local _ENV = nil

local LISTENERS, TRACKER = "listeners.ini", "tracker.ini"
local entries = {} -- names of a listener's entries, Port first
for name in pairs(schema.sections[LISTENERS]) do
  entries[#entries + 1] = name
end
sort(entries, function(a, b)
  if (a == "Port") ~= (b == "Port") then return a == "Port" end
  return a < b
end)

-- A value as it stands in the file; "" for "no such entry".
local function text_of(v)
  if v == nil or v == false then return "" end
  if math_type(v) == "float" and v % 1 == 0 then return ("%d"):format(v) end
  if type(v) == "string" or type(v) == "number" then return tostring(v) end
  if type(v) ~= "table" then return nil end
  local parts = {}
  for i, x in ipairs(v) do
    parts[i] = tostring(x)
  end
  return concat(parts, ",")
end

local function is_name(name)
  return type(name) == "string" and name:find "^[%w_-]+$" and #name <= 60
end

local function no_name(name)
  return nil, ("'%s' cannot name a listener: letters, digits, _ and -, at most 60"):format(tostring(name))
end

-- A listener goes, all its entries.
local function remove(name)
  if not is_name(name) then return no_name(name) end
  return { { file = LISTENERS, entry = name .. ".*" } }
end

-- Names of entries, Port first, those with a key ("Label-site") last.
local function in_order(fields)
  local with_key = {}
  for key in pairs(fields) do
    if type(key) == "string" and not schema.sections[LISTENERS][key] then with_key[#with_key + 1] = key end
  end
  sort(with_key)
  return move(with_key, 1, #with_key, #entries + 1, move(entries, 1, #entries, 1, {}))
end

-- The entries of one socket of a listener; Port 0 takes it away. -> true | nil, why
local function add_fields(out, name, fields)
  for key in pairs(fields) do
    if math_type(key) ~= "integer" and not (type(key) == "string" and schema.of_listener(key)) then
      local meant = type(key) == "string" and near.best(key, entries)
      return nil, ("a listener has no entry '%s'%s"):format(tostring(key), meant and ": did you mean " .. meant .. "?" or "")
    end
  end
  for _, entry in ipairs(in_order(fields)) do
    local v = fields[entry]
    if v ~= nil then
      local text = text_of(v)
      if not text then return nil, ("%s: a %s is no value"):format(entry, type(v)) end
      if entry == "Port" and text:find "^%s*0%s*$" then
        out[#out + 1] = { file = LISTENERS, entry = name .. ".*" }
        return true
      end
      out[#out + 1] = { file = LISTENERS, entry = name .. "." .. entry, value = text ~= "" and text or nil }
    end
  end
  return true
end

-- fields: { Port = 8081, Services = { "tracker", "ui" }, List = false, [2] = { Port = 8082 } } — an entry that is not named stays, false
-- or "" takes it away (its default counts again), a number is one more socket of the listener (NAME.2.Port), and Port 0 takes the
-- listener or that one socket away (G7).
local function listener(name, fields)
  if not is_name(name) then return no_name(name) end
  if type(fields) ~= "table" then return nil, "the entries are given as { Port = 8081, … }" end
  local out, rows = {}, {}
  local fine, why = add_fields(out, name, fields)
  for key, row in pairs(fields) do
    if math_type(key) == "integer" then
      rows[#rows + 1] = key
      if key < 2 or key > 9999 or type(row) ~= "table" then
        return nil, "further sockets of a listener are given as [2] = { Port = 8082, … }"
      end
    end
  end
  sort(rows)
  for _, n in ipairs(rows) do
    if fine then fine, why = add_fields(out, name .. "." .. n, fields[n]) end
  end
  if not fine then return nil, why end
  if not out[1] then return nil, "nothing is to be changed: give entries, as in { Port = 8081 }" end
  return out
end

-- Several at once: { web = { Port = 8081 }, old = { Port = 0 } }. All of it comes into force, or nothing.
local function listeners(by_name)
  local names, out = {}, {}
  for name in pairs(by_name) do
    if not is_name(name) then return no_name(name) end
    names[#names + 1] = name
  end
  sort(names)
  for _, name in ipairs(names) do
    local list, why = listener(name, by_name[name])
    if not list then return nil, name .. ": " .. why end
    move(list, 1, #list, #out + 1, out)
  end
  if not out[1] then return nil, "nothing is to be changed: give listeners, as in { web = { Port = 8081 } }" end
  return out
end

-- The port on which the ui fetches the tracker's events (M56); nil = the default again.
local function communications_port(port)
  local text = text_of(port)
  if not text then return nil, "a port is a number" end
  return { { file = TRACKER, entry = "CommunicationsPort", value = text ~= "" and text or nil } }
end

return { entries = entries, listener = listener, listeners = listeners, remove = remove, communications_port = communications_port }
