--- Listeners as the hub's table shows them: what listeners.ini says of each socket line, joined with the sockets that there are. Pure:
-- rules and the engine's status in, rows out.
--
--   rows(conf, status) -> { {name=, listener=, parent=, from=, fixed=, limits=, say={Port="8443", …}, given={Port=true, …},
--                            forced={Port=true, …}, sockets={…}, active=} …, names = }
-- name: "secure" or, for a further line of that listener, "secure.2" (listener "secure", parent its first row). from: the file that makes
-- its sockets. fixed: its sockets are not made by listeners.ini, so only limits can be changed there (limits = false: not even those).
-- say: what stands in the form; given: written in the file; forced: given on the command line, so an edit of the file would do nothing.
-- names: the protocol names that ports may have.
local schema = require "portreeve.schema"
local ipairs, pairs, table_concat, tointeger, tonumber, tostring, type =
  ipairs, pairs, table.concat, math.tointeger, tonumber, tostring, type
local _ENV = nil

local FILE = "listeners.ini"
local spec = schema.sections[FILE]

-- Entries in the order of the form. Those that this version of listeners.ini does not know are left out.
local entries = {}
for _, entry in ipairs { "Port", "Address", "WhenMissing", "Transport", "InitTLS", "Certificate", "Services", "Restriction", "List",
                         "MaxConnections", "MaxPerAddress", "Reserve", "Backlog" } do
  if spec[entry] then
    entries[#entries + 1] = entry
  end
end

-- Where the sockets of listeners that no section makes come from, and the page that changes them.
local built_in = {
  http = { file = "tomcat.ini", section = "tomcat", entry = "Port" },
  internal = { file = "hub.ini, lui.ini, tracker.ini", section = "hub", entry = "RMIPort" },
  communications = { file = "tracker.ini", section = "tracker", entry = "CommunicationsPort", page = "/trk/general" },
  shutdown = { file = "tomcat.ini", section = "tomcat", entry = "ShutdownPort" },
}

local function default_text(entry)
  local value = spec[entry].default
  if entry == "Address" then
    return "*"
  elseif type(value) == "table" then
    return table_concat(value, ",")
  end
  return value == nil and "" or tostring(value)
end

-- The word of the file for a port that the kernel chooses; 0 removes a socket (G7). An override by --set may say 0 for it.
local FREE = "free"

local function text_of(entry, e)
  local text = e and e.text or default_text(entry)
  if entry == "Services" and e and type(e.value) == "table" then
    text = table_concat(e.value, ",")
  elseif spec[entry].kind == "word" and e then
    text = e.value
  elseif entry == "Port" and e and e.value == 0 and e.file == "--set" then
    text = FREE
  end
  return text
end

local function row_of(name, section, fixed, file)
  local row = { name = name, listener = name, from = file, fixed = fixed, say = {}, given = {}, forced = {}, sockets = {}, active = 0 }
  for _, entry in ipairs(entries) do
    local e = section and section[entry]
    row.say[entry] = text_of(entry, e)
    row.given[entry] = section and section.given and section.given[entry]
    row.forced[entry] = e and e.file == "--set" or nil
  end
  return row
end

local function file_of(conf, place)
  local e = conf[place.section] and conf[place.section][place.entry]
  return e and (e.file or "") ~= "" and e.file ~= "--set" and e.file or place.file
end

local function written_in(section)
  for _, entry in ipairs(entries) do
    local e = section[entry]
    if e and (e.file or "") ~= "" and e.file ~= "--set" then
      return e.file
    end
  end
  return FILE
end

local function add_socket(row, socket)
  row.sockets[#row.sockets + 1] = socket
  row.active = row.active > (tonumber(socket.active) or 0) and row.active or tointeger(tonumber(socket.active)) or 0
end

-- The first line of a listener and its further ones.
local function add_section(add, l)
  local first = row_of(l.name, l, schema.builtin[l.name] == true, written_in(l))
  first.limits = true
  add(first)
  for _, line in ipairs(l.rows or {}) do
    local row = row_of(line.name, line, false, written_in(line))
    row.listener, row.parent = l.name, first
    first.further = (first.further or 0) + 1
    add(row)
  end
end

-- The row that made a socket: the entry behind it names its line.
local function row_of_socket(by_name, s)
  local entry = type(s.because) == "table" and s.because.entry or ""
  return by_name[entry:match("([%w_-]+%.%d+)%.%a+$") or s.name] or by_name[s.name]
end

local function rows(conf, status)
  local out, by_name = { names = conf.portnames }, {}
  local function add(row)
    out[#out + 1], by_name[row.name] = row, row
  end
  local own = {}
  for _, l in ipairs(conf.listeners or {}) do
    own[l.name] = l
  end
  for _, s in ipairs(status.listeners or {}) do -- built-in ones first, in the plan's order
    local place = built_in[s.name]
    if place and not by_name[s.name] then
      local row = row_of(s.name, own[s.name], true, file_of(conf, place))
      row.limits, row.page = schema.builtin[s.name] == true, place.page
      add(row)
    end
  end
  for _, l in ipairs(conf.listeners or {}) do
    if not by_name[l.name] then
      add_section(add, l)
    end
  end
  for _, s in ipairs(status.listeners or {}) do
    if not by_name[s.name] then -- made by an edited bind policy alone
      add(row_of(s.name, nil, true, type(s.because) == "table" and s.because.policy or "policies/bind.lua"))
    end
    add_socket(row_of_socket(by_name, s), s)
  end
  return out
end

-- Changes where, and only where, what the form says of editable entries has changed: a form made before another one was applied
-- is told by it.
local function mark(list)
  local out = {}
  for _, row in ipairs(list) do
    out[#out + 1] = row.name
    for _, entry in ipairs(entries) do
      out[#out + 1] = row.say[entry]
    end
  end
  return table_concat(out, "\n")
end

local function has(row, entry)
  return not row.parent or schema.rows == nil or schema.rows[entry] ~= nil
end

local function changeable(row, entry)
  if row.forced[entry] or not has(row, entry) then
    return false
  elseif row.fixed then
    return row.limits == true and schema.limits[entry] == true
  end
  return true
end

local names = {}
for name in pairs(built_in) do
  names[name] = true
end

return { rows = rows, mark = mark, entries = entries, changeable = changeable, has = has, default_text = default_text, spec = spec,
  FILE = FILE, FREE = FREE, built_in = names }
