-- Entries of a configuration file -> values with their places, by portreeve.schema. Strict: a bad value is an error; an unknown entry is a
-- warning, since files of the product that this one replaces hold entries that we do not have.
-- A file is { display =, entries = { { key=, value=, line= }, … } }; ctx = { report =, names = portnames }.
local addr = require "portreeve.addr"
local kinds = require "portreeve.kinds"
local near = require "portreeve.near"
local report = require "portreeve.report"
local schema = require "portreeve.schema"
local ipairs, pairs, setmetatable, tonumber, type = ipairs, pairs, setmetatable, tonumber, type
local concat, sort, unpack = table.concat, table.sort, table.unpack
local _ENV = nil

local entries = {}
local at = report.at

-- Later entries replace earlier ones of the same key (I6); overrides stand behind the file's own and replace silently.
local function in_force(file, ctx)
  local last, order = {}, {}
  for _, e in ipairs(file.entries) do
    local place = {
      file = e.file or file.display, line = e.line, entry = e.key, text = e.value, from_set = e.from_set,
      bad_escape = e.bad_escape,
      secret = e.key:lower():find("pas", 1, true) or e.key:lower():find("word", 1, true), -- nor may a misspelled Password be shown
    }
    local old = last[e.key]
    if not old then order[#order + 1] = e.key end
    if old and not e.from_set then
      ctx.report.warn(place, ("this replaces the value of line %d: remove one of the two lines"):format(old.line))
    end
    last[e.key] = place
  end
  return last, order
end

local function take(e, spec, ctx)
  local value, why, remark, port = kinds[spec.kind](e.text, spec, e.from_set, ctx.names)
  if value == nil then
    ctx.report.error(e, why)
    return nil
  end
  if remark then ctx.report.warn(e, remark) end
  if spec.kind == "path" and e.bad_escape then ctx.report.warn(e, "a single backslash vanishes: write / or \\\\") end
  local inline = spec.kind == "list" and value.inline or nil -- such a list goes by the name of its entry
  if inline then value = e.entry end
  return { value = value, inline = inline, port = port, file = e.file, line = e.line, entry = e.entry,
           text = spec.kind ~= "secret" and kinds.trim(e.text) or nil }
end

local function default_of(entry, spec)
  if spec.default == nil then return nil end
  return { value = spec.default, file = "", line = 0, entry = entry }
end

-- Which known names `key` may have meant. Beyond the messages that are kept nobody looks.
local function hint(key, known, ctx)
  if key:find("^[%d%[,]") then
    return "unknown entry, ignored: if it goes on from the line above, that one must end in a backslash with no blank behind it"
  end
  if ctx.report.quiet or #ctx.report.warnings >= report.most then return "" end
  local names = {}
  for name in pairs(known) do
    names[#names + 1] = name
  end
  local found, only_case = near.best(key, names)
  if only_case then return ("unknown entry: capital and small letters matter, write %s; it is ignored"):format(found) end
  if found then return ("unknown entry, ignored: did you mean %s?"):format(found) end
  return "unknown entry, ignored"
end

-- Files with fixed entries. other(key, e): takes what is none of them, or returns false.
function entries.plain(file, spec, ctx, other)
  local out = {}
  local found, order = in_force(file, ctx)
  for _, key in ipairs(order) do
    local e = found[key]
    if spec[key] then
      out[key] = take(e, spec[key], ctx)
    elseif not (other and other(key, e)) then
      ctx.report.warn(e, hint(key, spec, ctx))
    end
  end
  for entry, s in pairs(spec) do
    if not found[entry] then out[entry] = default_of(entry, s) end
  end
  return out
end

local function new_section(name, e)
  return { name = name, first = e, given = {}, rows = {}, keyed = {} }
end

-- NAME.Entry-KEY where Entry takes keys -> NAME, Entry, KEY. KEY may have dots of its own.
local function with_key(text, keyed)
  local first, last, found
  for entry in pairs(keyed or {}) do
    local from, to = text:find("." .. entry .. "-", 1, true)
    if from and not (first and first < from) then first, last, found = from, to, entry end
  end
  if found then return text:sub(1, first - 1), found, text:sub(last + 1) end
end

local function take_keyed(section, entry, key, e, spec, ctx)
  local value, why = kinds[spec.key](key)
  if not value then
    ctx.report.error(e, ("in the name of this entry: %s: %s"):format(key, why))
    return
  end
  local taken = take(e, spec, ctx)
  local list = section.keyed[entry] or {}
  section.keyed[entry] = list
  for _, other in ipairs(list) do
    if taken and other.key == value then
      ctx.report.error(e, ("line %d (%s) is for the same name: leave one of the two out"):format(other.line, other.entry))
      return
    end
  end
  if taken then
    taken.key = value
    list[#list + 1] = taken
  end
end

-- The section that NAME.… or, where the file has rows, NAME.2.… belongs to.
local function section_of(out, by_name, name, row, e)
  local section = by_name[name]
  if not section then
    section = new_section(name, e)
    by_name[name] = section
    out[#out + 1] = section
  end
  if not row then return section end
  local key = name .. "." .. row
  if not by_name[key] then
    by_name[key] = new_section(key, e)
    section.rows[#section.rows + 1] = by_name[key]
  end
  return by_name[key]
end

-- Labels as the plan carries them, "KEY=value" lines in order of keys: { value =, file =, line =, entry = } of the first one.
local function join_labels(section, ctx)
  local keys = { unpack(section.keyed.Label or {}) }
  if not keys[1] then return end
  sort(keys, function(a, b) return a.key < b.key end)
  local first, lines = keys[1], {}
  for i, e in ipairs(keys) do lines[i] = e.key .. "=" .. e.value end
  local text = concat(lines, "\n")
  if #text > 255 then ctx.report.error(first, "the labels of one listener have 255 bytes together at most") end
  section.Labels = { value = text, file = first.file, line = first.line, entry = first.entry }
end

-- What a row has of an entry with keys: its own, and those of its listener where it has none (adds: none of that key).
local function inherit_keyed(row, entry, list, adds)
  local own, has = row.keyed[entry], {}
  if not own or not adds then
    row.keyed[entry] = own or list
    return
  end
  for _, e in ipairs(own) do has[e.key] = true end
  local all = { unpack(own) }
  for _, e in ipairs(list) do
    if not has[e.key] then all[#all + 1] = e end
  end
  row.keyed[entry] = all
end

-- What a row does not say it takes from its section; what the section does not say has its default. A port is each socket's own.
local function fill(section, spec, row_spec, keyed, ctx)
  join_labels(section, ctx)
  for entry, s in pairs(spec) do
    if not section.given[entry] then section[entry] = default_of(entry, s) end
  end
  for _, row in ipairs(section.rows) do
    for entry in pairs(row_spec) do
      if not row.given[entry] and entry ~= "Port" then row[entry] = section[entry] end
    end
    for entry, list in pairs(section.keyed) do
      inherit_keyed(row, entry, list, keyed[entry].adds)
    end
    join_labels(row, ctx)
  end
end

-- Files of NAME.Entry; with row_spec also NAME.2.Entry, a row: one more socket of the same listener. keyed: the entries that may be written
-- NAME.Entry-KEY, any number of times: section.keyed[Entry] = { { key =, value =, file =, … }, … }.
function entries.sections(file, spec, ctx, row_spec, keyed)
  local out, by_name = {}, {}
  local found, order = in_force(file, ctx)
  for _, key in ipairs(order) do
    local e = found[key]
    local name, entry, sub = with_key(key, keyed)
    if not name then
      name, entry = key:match("^(.*)%.([^.]*)$")
    end
    local head, row = (name or ""):match("^(.*)%.([1-9]%d*)$")
    if row_spec and head and #row <= 4 then name, row = head, tonumber(row) else row = nil end
    local known = row and row_spec or spec
    if not name or not name:find("^[%w_-]+$") or #name > 60 then
      local rows = row_spec and " (NAME.2.Entry for its second socket, and so on)" or ""
      ctx.report.error(e, ("entries of this file are written NAME.Entry%s, the name of letters, digits, _ and -"):format(rows))
    elseif sub then
      take_keyed(section_of(out, by_name, name, row, e), entry, sub, e, keyed[entry], ctx)
    elseif row and spec[entry] and not known[entry] then
      ctx.report.error(e, ("this counts for all sockets of the listener together: write %s.%s"):format(name, entry))
    elseif not known[entry] then
      ctx.report.warn(e, hint(entry, known, ctx))
    else
      local section = section_of(out, by_name, name, row, e)
      section[entry] = take(e, known[entry], ctx)
      section.given[entry] = true
    end
  end
  for _, section in ipairs(out) do
    fill(section, spec, row_spec, keyed, ctx)
  end
  return out
end

-- The address in the name of Secure-ADDRESS. nil and why.
local function secure_address(text, e)
  local inner = text:match("^%[(.*)%]$")
  local address, why = addr.parse(inner or text)
  if address and not (inner and not inner:find(":", 1, true)) then return address end
  if address then return nil, "brackets are for IPv6 addresses" end
  if not inner and (e.text:find("^:") or (text:find("^%x*$") and e.text:find("^[%x:]+"))) then
    local whole = (text .. ":" .. e.text):match("^[%x:%.]+") or text
    return nil, ("a colon ends the name of an entry, so this line does not mean what it says: write Secure-[%s]=%s"):format(
      whole:gsub(":$", ""), e.text:match("=%s*(.*)$") or "")
  end
  if addr.hostport(text, true) then return nil, "an address without port is wanted in the name of this entry" end
  return nil, why
end

-- A key that begins with `head` in whatever case: its rest; nil where it does not; false after a warning where the case is wrong.
local function rest_of(key, e, head, shown, ctx)
  if key:sub(1, #head) == head then return kinds.trim(key:sub(#head + 1)) end
  if key:sub(1, #head):lower() ~= head:lower() then return nil end
  ctx.report.warn(e, ("unknown entry: capital and small letters matter, write %s; it is ignored"):format(shown))
  return false
end

-- Secure-ADDRESS=CERTIFICATE, into list. The address may be bare IPv4, or IPv6 in brackets, or IPv6 with \: for its colons.
function entries.secure(list, ctx)
  local place = {} -- address -> index in list
  return function(key, e)
    local text = rest_of(key, e, "Secure-", "Secure-ADDRESS", ctx)
    if not text then return text == false end
    local address, why = secure_address(text, e)
    if not address then
      ctx.report.error(e, why)
      return true
    end
    if e.text:find("^%d+%s*=") then
      ctx.report.error(e, "no port can stand here: HTTPS is on SecurePort, or on the port that BindAddress gives the address")
      return true
    end
    local entry = take(e, { kind = "certificate" }, ctx)
    if not entry then return true end
    entry.address = address
    local old = list[place[address]]
    if old then
      ctx.report.warn(e, ("%s of line %d names the same address: the later one is in force"):format(old.entry, old.line))
    end
    place[address] = old and place[address] or #list + 1
    list[place[address]] = entry
    return true
  end
end

-- Group-NAME=eth0, eth1, into groups: interfaces and addresses under one name, to be written where an address can be.
function entries.group(groups, ctx)
  return function(key, e)
    local name = rest_of(key, e, "Group-", "Group-NAME", ctx)
    if not name then return name == false end
    if not kinds.is_place_name(name) then
      ctx.report.error(e, "the name of a group begins with a letter and has letters, digits, _ . and - only, at most 15")
      return true
    end
    groups[name] = take(e, { kind = "members" }, ctx)
    return true
  end
end

-- One list, no place twice with one port (ports not written count as equal). A long one of addresses without ports gets them as `bare`.
local LONG = 64
local without = setmetatable({}, { __mode = "k" }) -- lists that hold none
function entries.drop_doubles(entry, ctx)
  if not entry or type(entry.value) ~= "table" or not entry.value[1] or without[entry.value] then return end
  local seen, kept, bare = {}, {}, #entry.value >= LONG and {} or nil
  for i, item in ipairs(entry.value) do
    bare = bare and not item.port and item.address and bare
    if bare then bare[i] = item.address end
    local place, port = item.address or item.name, item.port or ""
    local there = seen[port] or {}
    seen[port] = there
    if there[place] then
      ctx.report.warn(at(entry, nil, place), "the address is in the list twice: once is enough")
    else
      there[place] = true
      kept[#kept + 1] = item
    end
  end
  if #kept < #entry.value then
    entry.value = kept
  else
    entry.value.bare, without[entry.value] = bare or nil, true
  end
end

-- Overrides, written FILE<blank>ENTRY=VALUE in the text of the bundle file "--set", become entries behind those of their file.
function entries.add_overrides(files, ctx)
  local set = files["--set"]
  for _, e in ipairs(set and set.entries or {}) do
    local entry, value = e.value:match("^([^=]+)=(.*)$")
    local place = { file = "--set", line = 0, entry = e.key .. ":" .. (entry or e.value), text = value }
    if not entry then
      ctx.report.error(place, "an override is written FILE:ENTRY=VALUE")
    elseif not (schema[e.key] or schema.sections[e.key]) then
      ctx.report.error(place, "there is no such file; overrides may name " .. near.join(schema.order))
    else
      local file = files[e.key] or { display = e.key, entries = {} }
      files[e.key] = file
      file.entries[#file.entries + 1] = { key = kinds.trim(entry), value = value, line = 0, file = "--set", from_set = true }
    end
  end
end

return entries
