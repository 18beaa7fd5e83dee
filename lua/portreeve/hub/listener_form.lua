--- What a filled-in form of listeners asks for: faults at their fields, or the edits of listeners.ini. Pure. It takes the fields that are
-- there, so it reads the table of all listeners (a few entries each) and the page of one (every entry) alike.
--
--   read(rows, form) -> { rows = shown rows with typed values, added = new rows, edits = {…}, faults = {NAME = {text …}},
--                         faults_at = {NAME = {ENTRY = {text …}, [""] = those of no one entry}}, bad = bool }
-- Fields: "l.NAME.ENTRY" of a listener that is there, "+N.ENTRY" and "+N.Name" of new ones; check boxes "….Services.WORD"; for a new entry
-- with a key "….Backend-+K" (its value) and "….Backend-+K.Key". Port 0 removes a listener (G7), and in a new one means that nothing is
-- added (G6).
local kinds = require "portreeve.kinds"
local listening = require "portreeve.hub.listening"
local schema = require "portreeve.schema"
local ipairs, next, pairs, table_concat, tostring = ipairs, next, pairs, table.concat, tostring
local entries, keyed, FREE = listening.entries, listening.keyed, listening.FREE
local _ENV = nil

local NEW_MOST = 8 -- empty rows of one form
local SPARE = 1 -- empty places for entries with a key
local VALUE_MOST = 1024 -- as the supervisor takes it

-- What the form says of an entry, "" where nothing; nil where the form has no such field.
local function typed(form, prefix, entry)
  local spec = schema.of_listener(entry)
  if spec.kind == "words" then
    local words = {}
    for _, word in ipairs(spec.words) do
      words[#words + 1] = form[prefix .. "." .. entry .. "." .. word] and word or nil
    end
    return form[prefix .. "." .. entry] and table_concat(words, ",") or nil
  end
  local text = form[prefix .. "." .. entry]
  return text and kinds.trim(text)
end

-- -> text for the file (nil: no entry, so the default) | false, why
local function for_file(entry, text, names)
  local spec, _, key = schema.of_listener(entry)
  if spec.kind == "words" and text == "" then
    return false, spec.label .. ": tick at least one"
  elseif entry == "Port" and text:lower() == FREE then
    return FREE
  elseif text == "" and entry == "Port" then
    return false, "Port: the value is missing; 0 removes the listener"
  elseif text == "" then
    return nil
  end
  local value, why = kinds[spec.kind](text, spec, false, names)
  if value == nil then
    return false, ("%s: %s: %s"):format(entry, #text > 80 and text:sub(1, 80) .. "…" or text, why)
  elseif text:find("[^ -~]") or #text > VALUE_MOST then
    return false, ("%s: at most %d plain characters (ASCII) can be written from here: change it in the file"):format(entry, VALUE_MOST)
  elseif key and key:find("[^%w_.*-]") then
    return false, entry .. ": such a name can only be written in the file"
  end
  return text
end

-- entry: where on the page it belongs; nil = nowhere in particular.
local function fault(out, name, entry, text)
  local list, at = out.faults[name] or {}, out.faults_at[name] or {}
  list[#list + 1] = text
  at[entry or ""] = at[entry or ""] or {}
  at[entry or ""][#at[entry or ""] + 1] = text
  out.faults[name], out.faults_at[name], out.bad = list, at, true
end

-- The same for what is to be written: a file of this machine is named by hand only (src/super/edit.c).
local function to_write(entry, text, names)
  local spec = schema.of_listener(entry)
  if spec.kind == "backends" and text:find("/", 1, true) then
    return false, ("%s: %s: a backend that is a unix socket is written by hand only: in listeners.ini"):format(entry, text)
  end
  return for_file(entry, text, names)
end

local function change(row, entry, text, out)
  local value, why = to_write(entry, text, out.rows.names)
  if value == false then
    fault(out, row.name, entry, why)
    return
  end
  out.edits[#out.edits + 1] = { file = listening.FILE, entry = row.name .. "." .. entry, value = value, before = row.given[entry]
    and row.was[entry] or nil }
  row.changed[entry] = true
end

-- A new entry with a key, typed into place k of `entry` -> its name, nil where the place is empty or wrong.
local function spare_of(row, form, prefix, entry, k, out)
  local place = entry .. "-+" .. k
  local text, key = form[prefix .. "." .. place], form[prefix .. "." .. place .. ".Key"]
  if not text or not key then
    return nil
  end
  text, key = kinds.trim(text), kinds.trim(key)
  row.say[place], row.say[place .. ".Key"] = text, key
  if key == "" and text == "" then
    return nil
  end
  local name = entry .. "-" .. key
  local good, why = kinds[keyed[entry].key](key)
  if not good then
    fault(out, row.name, place, ("%s: %s: %s"):format(keyed[entry].keys, key, key == "" and "the value is missing" or why))
  elseif row.say[name] then
    fault(out, row.name, place, name .. " is there already: change it in its own field")
  elseif text == "" then
    fault(out, row.name, place, name .. ": the value is missing")
  else
    row.place_of[name] = place
    return name, text
  end
end

local function read_spares(row, form, prefix, out, take)
  row.place_of = {}
  for entry in pairs(keyed) do
    for k = 1, SPARE do
      local name, text = spare_of(row, form, prefix, entry, k, out)
      if name then
        take(name, text, entry .. "-+" .. k)
      end
    end
  end
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
  for _, entry in ipairs(row.fields) do
    row.was[entry] = row.say[entry]
  end
  local prefix = "l." .. row.name
  if typed(form, prefix, "Port") == "0" and row.say.Port ~= "0" and listening.changeable(row, "Port") then
    row.say.Port, row.removed = "0", true
    return
  end
  for _, entry in ipairs(row.fields) do
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
  read_spares(row, form, prefix, out, function(name, text, place)
    if not listening.changeable(row, name) then
      return
    end
    local value, why = to_write(name, text, out.rows.names)
    if value == false then
      fault(out, row.name, place, why)
      return
    end
    out.edits[#out.edits + 1] = { file = listening.FILE, entry = row.name .. "." .. name, value = value }
    row.changed[name] = true
  end)
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

-- parent: the listener of which it shall be a further socket; then it begins with what that one says.
local function empty_row(n, parent)
  local row = { name = "+" .. n, new = n, say = {}, given = {}, forced = {}, at = {}, above = {}, sockets = {}, was = {}, changed = {},
    active = 0, fields = entries, place_of = {} }
  for _, entry in ipairs(entries) do
    row.say[entry] = parent and schema.rows[entry] and parent.say[entry] or listening.default_text(entry)
  end
  row.say.Port, row.say.Name = "0", parent and parent.name or ""
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

-- The entries of a new row: those that differ from what counts without them.
local function add_entries(row, parent, name, key, out)
  for _, entry in ipairs(entries) do
    local base, here = listening.default_text(entry), listening.has({ parent = parent }, entry)
    local usual = row.say[entry] == (parent and parent.say[entry] or base)
    local value, why = (usual and for_file or to_write)(entry, row.say[entry], out.rows.names)
    if value == false then
      fault(out, row.name, entry, why)
    elseif value and not here and value ~= base then
      fault(out, row.name, entry, ("%s counts for all sockets of %s together: change it in its row"):format(entry, name))
    elseif value and here and (entry == "Port" or not usual) then
      out.edits[#out.edits + 1] = { file = listening.FILE, entry = key .. "." .. entry, value = value }
    end
  end
end

local function read_new(n, form, taken, out)
  local row, prefix = empty_row(n), "+" .. n
  out.added[#out.added + 1] = row
  for _, entry in ipairs(entries) do
    row.say[entry] = listening.changeable(row, entry) and typed(form, prefix, entry) or row.say[entry]
  end
  row.say.Name = kinds.trim(form[prefix .. ".Name"] or "")
  if row.say.Port == "0" or row.say.Port == "" then
    row.say.Port = "0"
    return
  end
  local name = row.say.Name ~= "" and row.say.Name or free_name("port" .. row.say.Port:gsub("[^%w]", ""):sub(1, 40), taken)
  local why = name_fault(name)
  if why then
    fault(out, row.name, "Name", why)
    return
  end
  local parent = taken[name]
  if parent and parent.locked then
    fault(out, row.name, "Name", listening.TUNNEL:format(name))
    return
  end
  row.parent = parent
  local key = parent and line_key(name, taken) or name
  taken[key], row.adds = row, key
  add_entries(row, parent, name, key, out)
  read_spares(row, form, prefix, out, function(entry, text, place)
    local value, wrong = to_write(entry, text, out.rows.names)
    if value == false then
      fault(out, row.name, place, wrong)
    elseif listening.changeable(row, entry) then
      out.edits[#out.edits + 1] = { file = listening.FILE, entry = key .. "." .. entry, value = value }
    end
  end)
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
  local out = { rows = rows, added = {}, edits = {}, faults = {}, faults_at = {} }
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

-- Untouched rows of a form that has only been opened. of: see empty_row.
local function fresh(rows, new, of)
  local out = { rows = rows, added = {}, edits = {}, faults = {}, faults_at = {} }
  for n = 1, new < 1 and 1 or new > NEW_MOST and NEW_MOST or new do
    out.added[n] = empty_row(n, of)
  end
  return out
end

-- What the gate says beside the reason: the edits that it tried, and that nothing has changed.
local function beside(line)
  return line:find("%(new%)$") or line:find("%(was .*%)$") or line:find("^nothing has changed") or not line:find("%S")
end

-- Where on the page a message about an entry of this row belongs.
local function field_of(row, entry)
  return row.place_of and row.place_of[entry] or schema.of_listener(entry) and entry or nil
end

-- The gate's messages name "NAME.Entry" or, for a conflict, the listener's place: put each line at its field. -> lines that fit none
local function place_faults(out, text)
  local rest, by_name = {}, {}
  for _, row in ipairs(out.rows) do
    if row.removed or next(row.changed or {}) then
      by_name[row.name] = row
    end
  end
  for _, row in ipairs(out.added) do
    if row.adds then
      by_name[row.adds] = row
    end
  end
  for line in (tostring(text) .. "\n"):gmatch("(.-)\n") do
    local at, entry
    for name, word in line:gmatch("([%w_-]+%.?%d*)%.(%u[%w-]*[%w_.*-]*)") do
      if not at and by_name[name] then
        at, entry = by_name[name], word:gsub("%.$", "")
      end
    end
    if at and not beside(line) then
      fault(out, at.name, field_of(at, entry), line)
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

-- Ways to other servers that the edits make or change: whoever may call the listener gets there from here.
local function opens(form)
  local out = {}
  for _, edit in ipairs(form.edits) do
    local name, host = edit.entry:match("^([%w_-]+%.?%d*)%.Backend%-?(.*)$")
    if name and edit.value then
      out[#out + 1] = ("Whoever may call %s%s reaches %s, as if this server called."):format(name, host ~= "" and " for " .. host or "",
        edit.value)
    end
  end
  return out
end

return { read = read, opens = opens, fresh = fresh, place_faults = place_faults, words = words, NEW_MOST = NEW_MOST, SPARE = SPARE }
