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
local function for_file(entry, text, names)
  if entry == "Services" and text == "" then
    return false, "Carries: tick at least one service"
  elseif entry == "Port" and text:lower() == FREE then
    return FREE
  elseif text == "" and entry == "Port" then
    return false, "Port: the value is missing; 0 removes the listener"
  elseif text == "" then
    return nil
  end
  local value, why = kinds[spec[entry].kind](text, spec[entry], false, names)
  if value == nil then
    return false, ("%s: %s: %s"):format(entry, #text > 80 and text:sub(1, 80) .. "…" or text, why)
  end
  return text
end

local function fault(out, name, text)
  local list = out.faults[name] or {}
  list[#list + 1] = text
  out.faults[name], out.bad = list, true
end

local function change(row, entry, text, out)
  local value, why = for_file(entry, text, out.rows.names)
  if value == false then
    fault(out, row.name, why)
    return
  end
  out.edits[#out.edits + 1] = { file = listening.FILE, entry = row.name .. "." .. entry, value = value, before = row.given[entry]
    and row.was[entry] or nil }
  row.changed[entry] = true
end

-- What a further line does not say itself it takes from the first one, so it changes with it.
local function follow(row, entry)
  local parent = row.parent
  if parent and parent.changed[entry] and not row.given[entry] and entry ~= "Port" then
    row.say[entry], row.changed[entry] = parent.say[entry], true
  end
end

local function read_row(row, form, out)
  row.was, row.changed = {}, {}
  for _, entry in ipairs(entries) do
    row.was[entry] = row.say[entry]
  end
  local prefix = "l." .. row.name
  if typed(form, prefix, "Port") == "0" and row.say.Port ~= "0" and listening.changeable(row, "Port") then
    row.say.Port, row.removed = "0", true
    return
  end
  for _, entry in ipairs(entries) do
    local text = listening.changeable(row, entry) and typed(form, prefix, entry)
    if text and text ~= row.say[entry] then
      row.say[entry] = text
      local back_to_default = text == listening.default_text(entry) and not row.given[entry] and not row.parent
      if not back_to_default then
        change(row, entry, text, out)
      end
    else
      follow(row, entry)
    end
  end
end

-- A listener's first line may have further ones that go on, and take from it what they do not say.
local function removals(rows, out)
  local left = {}
  for _, row in ipairs(rows) do
    if row.parent and not row.removed then
      left[row.listener] = true
    end
  end
  for _, row in ipairs(rows) do
    local edit = { file = listening.FILE, entry = row.name .. ".*" }
    if row.removed and left[row.name] then
      edit = { file = listening.FILE, entry = row.name .. ".Port", value = "0", before = row.was.Port }
    end
    if row.removed and not (row.parent and row.parent.removed and not left[row.listener]) then
      out.edits[#out.edits + 1] = edit
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

local function name_fault(name)
  if not name:find("^[%w_-]+$") or #name > 60 then
    return "Name: letters, digits, _ and - only, at most 60"
  elseif listening.built_in[name] then
    return "Name: " .. name .. " is the name of a built-in listener; take another one"
  end
end

-- The name of a listener that is there means a further socket of it (G1): the key of its new line.
local function line_key(name, taken)
  local n = 2
  while taken[name .. "." .. n] do
    n = n + 1
  end
  return name .. "." .. n
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
  local name = row.say.Name ~= "" and row.say.Name or free_name("port" .. row.say.Port:gsub("[^%w]", ""):sub(1, 40), taken)
  local why = name_fault(name)
  if why then
    fault(out, row.name, why)
    return
  end
  local parent = taken[name]
  row.parent = parent
  local key = parent and line_key(name, taken) or name
  taken[key], row.adds = row, key
  for _, entry in ipairs(entries) do
    local value, fault_text = for_file(entry, row.say[entry], out.rows.names)
    local usual = value == (parent and parent.say[entry] or listening.default_text(entry))
    if value == false then
      fault(out, row.name, fault_text)
    elseif value and not listening.has(row, entry) and value ~= listening.default_text(entry) then
      fault(out, row.name, ("%s counts for all sockets of %s together: change it in its row"):format(entry, name))
    elseif value and listening.has(row, entry) and (entry == "Port" or not usual) then
      out.edits[#out.edits + 1] = { file = listening.FILE, entry = key .. "." .. entry, value = value }
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
    taken[row.name] = row
    read_row(row, form, out)
  end
  removals(rows, out)
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

-- What the gate says beside the reason: the edits that it tried, and that nothing has changed.
local function beside(line)
  return line:find("%(new%)$") or line:find("%(was .*%)$") or line:find("^nothing has changed") or not line:find("%S")
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
    for name in line:gmatch("([%w_-]+%.?%d*)%.%u%a*") do
      at = at or by_name[name]
    end
    if at and not beside(line) then
      fault(out, at, line)
    elseif not beside(line) then
      rest[#rest + 1] = line
    end
  end
  return rest
end

-- One line for people and the audit trail.
local function words(edit)
  if edit.value == nil then
    local line = edit.entry:match("^(.*)%.%*$")
    return not line and edit.entry .. " removed" or (line:find(".", 1, true) and "socket " or "listener ") .. line .. " removed"
  elseif edit.before and edit.before ~= "" then
    return ("%s: %s → %s"):format(edit.entry, edit.before, edit.value)
  end
  return edit.entry .. "=" .. edit.value
end

return { read = read, fresh = fresh, place_faults = place_faults, words = words, NEW_MOST = NEW_MOST }
