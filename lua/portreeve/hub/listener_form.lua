--- What a filled-in table of listeners asks for: faults at their rows, or the edits of listeners.ini. Pure.
--
--   read(rows, form) -> { rows = shown rows with typed values, added = new rows, edits = {…}, faults = {NAME = {text …}}, any = bool }
-- Fields: "l.NAME.ENTRY" of a listener that is there, "+N.ENTRY" and "+N.Name" of the empty rows at the end; check boxes of Services
-- "….Services.WORD". Port 0 removes a listener (G7), and in an empty row means that nothing is added (G6).
local kinds = require "portreeve.kinds"
local listening = require "portreeve.hub.listening"
local ipairs, next, table_concat, tostring = ipairs, next, table.concat, tostring
local spec, entries, FREE = listening.spec, listening.entries, listening.FREE
local _ENV = nil

local NEW_MOST = 8 -- empty rows of one form

-- What the form says of an entry, "" where nothing; nil where the form has no such field.
local function typed(form, prefix, entry)
  if entry == "Services" then
    local words = {}
    for _, word in ipairs(spec.Services.words) do
      words[#words + 1] = form[prefix .. ".Services." .. word] and word or nil
    end
    return form[prefix .. ".Services"] and table_concat(words, ",") or nil
  end
  local text = form[prefix .. "." .. entry]
  return text and kinds.trim(text)
end

-- -> text for the file (nil: no entry, so the default) | false, why
local function for_file(entry, text)
  if entry == "Services" and text == "" then
    return false, "Carries: tick at least one service"
  elseif entry == "Port" and text:lower() == FREE then
    return FREE
  elseif text == "" and entry == "Port" then
    return false, "Port: the value is missing; 0 removes the listener"
  elseif text == "" then
    return nil
  end
  local value, why = kinds[spec[entry].kind](text, spec[entry])
  if value == nil then
    return false, ("%s: %s: %s"):format(entry, #text > 80 and text:sub(1, 80) .. "…" or text, why)
  end
  return text
end

local function remove(row, out)
  out.edits[#out.edits + 1] = { file = listening.FILE, entry = row.name .. ".*" }
  row.removed = true
end

local function fault(out, name, text)
  local list = out.faults[name] or {}
  list[#list + 1] = text
  out.faults[name], out.bad = list, true
end

local function change(row, entry, text, out)
  local value, why = for_file(entry, text)
  if value == false then
    fault(out, row.name, why)
    return
  end
  out.edits[#out.edits + 1] = { file = listening.FILE, entry = row.name .. "." .. entry, value = value, before = row.given[entry]
    and row.was[entry] or nil }
  row.changed[entry] = true
end

local function read_row(row, form, out)
  row.was, row.changed = {}, {}
  for _, entry in ipairs(entries) do
    row.was[entry] = row.say[entry]
  end
  local prefix = "l." .. row.name
  local port = typed(form, prefix, "Port")
  if port == "0" and listening.changeable(row, "Port") then
    row.say.Port = "0"
    remove(row, out)
    return
  end
  for _, entry in ipairs(entries) do
    local text = listening.changeable(row, entry) and typed(form, prefix, entry)
    if text and text ~= row.say[entry] then
      row.say[entry] = text
      local back_to_default = text == listening.default_text(entry) and not row.given[entry]
      if not back_to_default then
        change(row, entry, text, out)
      end
    end
  end
end

local function empty_row(n)
  local row = { name = "+" .. n, new = n, say = {}, given = {}, forced = {}, sockets = {}, was = {}, changed = {}, active = 0 }
  for _, entry in ipairs(entries) do
    row.say[entry] = listening.default_text(entry)
  end
  row.say.Port, row.say.Name = "0", ""
  return row
end

local function free_name(base, taken)
  local name, n = base, 1
  while taken[name] do
    n = n + 1
    name = base .. "-" .. n
  end
  return name
end

local function name_fault(name, taken)
  if not name:find("^[%w_-]+$") or #name > 60 then
    return "Name: letters, digits, _ and - only, at most 60"
  elseif taken[name] then
    return "Name: there is a listener " .. name .. " already; change its row instead"
  elseif listening.built_in[name] then
    return "Name: " .. name .. " is the name of a built-in listener; take another one"
  end
end

local function read_new(n, form, taken, out)
  local row, prefix = empty_row(n), "+" .. n
  out.added[#out.added + 1] = row
  for _, entry in ipairs(entries) do
    row.say[entry] = typed(form, prefix, entry) or row.say[entry]
  end
  row.say.Name = typed(form, prefix, "Name") or ""
  if row.say.Port == "0" or row.say.Port == "" then
    row.say.Port = "0"
    return
  end
  local name = row.say.Name ~= "" and row.say.Name or free_name("port" .. row.say.Port:gsub("[^%w]", ""), taken)
  local why = name_fault(name, taken)
  if why then
    fault(out, row.name, why)
    return
  end
  taken[name], row.adds = true, name
  for _, entry in ipairs(entries) do
    local value, fault_text = for_file(entry, row.say[entry])
    if value == false then
      fault(out, row.name, fault_text)
    elseif value and (entry == "Port" or value ~= listening.default_text(entry)) then
      out.edits[#out.edits + 1] = { file = listening.FILE, entry = name .. "." .. entry, value = value }
    end
  end
end

-- How many empty rows the form has.
local function count_new(form)
  local n = 0
  while n < NEW_MOST and form["+" .. n + 1 .. ".Port"] do
    n = n + 1
  end
  return n
end

local function read(rows, form)
  local out = { rows = rows, added = {}, edits = {}, faults = {} }
  local taken = {}
  for _, row in ipairs(rows) do
    taken[row.name] = true
    read_row(row, form, out)
  end
  for n = 1, count_new(form) do
    read_new(n, form, taken, out)
  end
  return out
end

-- Untouched rows of a form that has only been opened.
local function fresh(rows, new)
  local out = { rows = rows, added = {}, edits = {}, faults = {} }
  for n = 1, new < 1 and 1 or new > NEW_MOST and NEW_MOST or new do
    out.added[n] = empty_row(n)
  end
  return out
end

-- The gate's messages name "NAME.Entry" or, for a conflict, the listener's place: put each line at its row. -> lines that fit none
local function place_faults(out, text)
  local rest, by_name = {}, {}
  for _, row in ipairs(out.rows) do
    if row.removed or next(row.changed or {}) then
      by_name[row.name] = row.name
    end
  end
  for _, row in ipairs(out.added) do
    if row.adds then
      by_name[row.adds] = row.name
    end
  end
  for line in (tostring(text) .. "\n"):gmatch("(.-)\n") do
    local at
    for name in line:gmatch("([%w_-]+)%.%a+") do
      at = at or by_name[name]
    end
    if at then
      fault(out, at, line)
    elseif line:find("%S") then
      rest[#rest + 1] = line
    end
  end
  return rest
end

-- One line for people and the audit trail.
local function words(edit)
  if edit.value == nil then
    local listener = edit.entry:match("^(.*)%.%*$")
    return listener and "listener " .. listener .. " removed" or edit.entry .. " removed"
  elseif edit.before and edit.before ~= "" then
    return ("%s: %s → %s"):format(edit.entry, edit.before, edit.value)
  end
  return edit.entry .. "=" .. edit.value
end

return { read = read, fresh = fresh, place_faults = place_faults, words = words, NEW_MOST = NEW_MOST }
