--- Listeners as the hub's pages show them: what listeners.ini says of each socket line, joined with the sockets that there are. Pure:
-- rules and the engine's status in, rows out.
--
--   rows(conf, status) -> { {name=, listener=, parent=, from=, fixed=, limits=, fields={"Port", …}, say={Port="8443", …},
--                            given={Port=true, …}, forced={Port=true, …}, at={Port=rules entry, …}, sockets={…}, active=} …, names = }
-- name: "secure" or, for a further line of that listener, "secure.2" (listener "secure", parent its first row). from: the file that makes
-- its sockets. fixed: its sockets are not made by listeners.ini, so only limits can be changed there (limits = false: not even those).
-- fields: every entry that the schema has, and those with a key that the line itself has ("Backend-mail.example.org").
-- say: what stands in the form; given: written in the file; forced: given on the command line, so an edit of the file would do nothing.
-- locked: a tunnel, and those are not changed here (TunnelEdits); so for all lines of its listener.
-- above: entries with a key that come from the listener's first line. names: the protocol names that ports may have.
local schema = require "portreeve.schema"
local tunnels = require "portreeve.tunnels"
local ipairs, pairs, table_concat, tointeger, tonumber, tostring, type =
  ipairs, pairs, table.concat, math.tointeger, tonumber, tostring, type
local _ENV = nil

local FILE = "listeners.ini"
local spec = schema.sections[FILE]
local keyed = schema.keyed[FILE]

-- Entries without a key, in the order of the form.
local entries = {}
for _, entry in ipairs(schema.shown) do
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

local function in_order(words, chosen)
  local has, out = {}, {}
  for _, word in ipairs(chosen) do
    has[word] = true
  end
  for _, word in ipairs(words) do
    out[#out + 1] = has[word] and word or nil
  end
  return table_concat(out, ",")
end

local function default_text(entry)
  local s = schema.of_listener(entry)
  local value = s.default
  if s.kind == "bind" then
    return value and "*" or ""
  elseif s.kind == "rate" then
    return "0"
  elseif s.kind == "words" then
    return in_order(s.words, value)
  end
  return value == nil and "" or tostring(value)
end

-- The word of the file for a port that the kernel chooses; 0 removes a socket (G7). An override by --set may say 0 for it.
local FREE = "free"

local function text_of(entry, e)
  local text = e and e.text or default_text(entry)
  if spec[entry].kind == "words" and e and type(e.value) == "table" then
    text = in_order(spec[entry].words, e.value)
  elseif spec[entry].kind == "word" and e then
    text = e.value
  elseif entry == "Port" and e and e.value == 0 and e.file == "--set" then
    text = FREE
  end
  return text
end

-- Entries with a key: the line's own become fields; a further line knows of those of its listener.
local function add_keyed(row, entry, list)
  local head = row.name .. "." .. entry .. "-"
  row.above[entry] = {}
  for _, e in ipairs(list) do
    local name = entry .. "-" .. e.entry:match("%." .. entry .. "%-(.*)$") -- as it is written: the key may have capitals there
    if e.entry:sub(1, #head) == head then
      row.fields[#row.fields + 1], row.say[name], row.given[name], row.at[name] = name, e.text or "", true, e
      row.forced[name] = e.file == "--set" or nil
    else
      row.above[entry][#row.above[entry] + 1] = { name = name, text = e.text or "", at = e }
    end
  end
end

local function row_of(name, section, fixed, file)
  local row = { name = name, listener = name, from = file, fixed = fixed, fields = {}, say = {}, given = {}, forced = {}, at = {},
    above = {}, sockets = {}, active = 0 }
  for _, entry in ipairs(schema.shown) do
    if spec[entry] then
      local e = section and section[entry]
      row.fields[#row.fields + 1] = entry
      row.say[entry] = text_of(entry, e)
      row.given[entry] = section and section.given and section.given[entry]
      row.forced[entry] = e and e.file == "--set" or nil
      row.at[entry] = e and (e.file or "") ~= "" and e or nil
    end
    if keyed[entry] then
      add_keyed(row, entry, section and section.keyed and section.keyed[entry] or {})
    end
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
  local out, by_name, own = { names = conf.portnames }, {}, {}
  local function add(row)
    local l = own[row.listener]
    row.locked = l and not tunnels.may_edit(conf) and tunnels.carries(l) or nil
    out[#out + 1], by_name[row.name] = row, row
  end
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
    for _, entry in ipairs(row.fields) do
      out[#out + 1] = entry .. "=" .. row.say[entry]
    end
  end
  return table_concat(out, "\n")
end

-- The entry without its key.
local function plain(entry)
  local _, base = schema.of_listener(entry)
  return base or entry
end

local function has(row, entry)
  local base = plain(entry)
  if row.fixed then
    return row.limits == true and (schema.limits[base] == true and (base ~= "WhenMissing" or row.name == "http") or base == "Label")
  end
  return not row.parent or schema.rows[base] ~= nil or keyed[base] ~= nil
end

-- Why a page does not change an entry that the line has: "command line", "file" or "tunnel"; or nil.
local function held(row, entry)
  if row.forced[entry] then
    return "command line"
  end
  return row.locked and "tunnel" or schema.of_listener(entry).by_hand and "file" or nil
end

local TUNNEL = "%s carries a tunnel: it is changed in listeners.ini, or here with TunnelEdits=On in portreeve.ini."

local function changeable(row, entry)
  return has(row, entry) and not held(row, entry)
end

local names = {}
for name in pairs(built_in) do
  names[name] = true
end

return { rows = rows, mark = mark, entries = entries, keyed = keyed, changeable = changeable, has = has, held = held,
  TUNNEL = TUNNEL,  default_text = default_text, spec = spec, FILE = FILE, FREE = FREE, built_in = names }
