-- Configuration files -> the rules table that policies and handlers read.
--   rules.tomcat.Port = { value = 8080, file = "conf/tomcat.ini", line = 3, entry = "Port", text = "8080" }
-- Every entry of portreeve.schema is there; one that no file sets has its default, file "" and line 0; one without default is nil.
--   rules.tomcat.secure  = { { address=, value = certificate name, file=, line=, entry= }, … }   the Secure-ADDRESS entries
--   rules.listeners      = { { name =, Port = {…}, … }, … } in file order      rules.certificates the same
--   rules.components     = { tracker = true, … }
-- Strict: a bad value is an error; an unknown entry is a warning, since files of the old product hold entries that we do not have.
local addr = require "portreeve.addr"
local kinds = require "portreeve.kinds"
local near = require "portreeve.near"
local schema = require "portreeve.schema"
local ipairs, next, pairs, require, type = ipairs, next, pairs, require, type
local concat = table.concat
local _ENV = nil

local SHOWN = 120 -- bytes of a value that a message repeats
local MOST = 50   -- messages kept of each sort; the rest is counted

local rules = {}

-- Messages: one list of errors, one of warnings, both bounded.
local function new_report(quiet)
  local report = { errors = {}, warnings = {}, more = 0, quiet = quiet }
  local function add(list, e, what)
    if #list >= MOST then
      report.more = report.more + 1
      return
    end
    local value = e.secret and "***" or (e.text or "")
    if #value > SHOWN then value = value:sub(1, SHOWN) .. "…" end
    local shown = e.entry and ("%s=%s: "):format(e.entry, (value:gsub("%c", "?"))) or ""
    local place = (e.line or 0) > 0 and ("%s:%d: "):format(e.file, e.line) or e.file .. ": "
    list[#list + 1] = place .. shown .. what
  end
  function report.error(e, what) add(report.errors, e, what) end
  function report.warn(e, what) add(report.warnings, e, what) end
  return report
end

-- The place of an entry for a message, with another name or value where given.
local function at(e, entry, text)
  return { file = e.file, line = e.line, entry = entry or e.entry, text = text or "" }
end

-- Later entries replace earlier ones of the same key (I6); overrides stand behind the file's own and replace silently.
local function in_force(file, report)
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
      report.warn(place, ("this replaces the value of line %d: remove one of the two lines"):format(old.line))
    end
    last[e.key] = place
  end
  return last, order
end

local function take(e, spec, report)
  local value, why, remark = kinds[spec.kind](e.text, spec, e.from_set)
  if value == nil then
    report.error(e, why)
    return nil
  end
  if remark then report.warn(e, remark) end
  if spec.kind == "path" and e.bad_escape then report.warn(e, "a single backslash vanishes: write / or \\\\") end
  return { value = value, file = e.file, line = e.line, entry = e.entry, text = spec.kind ~= "secret" and kinds.trim(e.text) or nil }
end

local function default_of(entry, spec)
  if spec.default == nil then return nil end
  return { value = spec.default, file = "", line = 0, entry = entry }
end

-- Which known names `key` may have meant. Beyond the messages that are kept nobody looks.
local function hint(key, known, report)
  if report.quiet or #report.warnings >= MOST then return "" end
  local names = {}
  for name in pairs(known) do
    names[#names + 1] = name
  end
  local found, only_case = near.best(key, names)
  if only_case then return ("unknown entry: capital and small letters matter, write %s; it is ignored"):format(found) end
  if found then return ("unknown entry, ignored: did you mean %s?"):format(found) end
  return "unknown entry, ignored"
end

-- Files with fixed entries.
local function read_plain(file, spec, report, other)
  local out = {}
  local entries, order = in_force(file, report)
  for _, key in ipairs(order) do
    local e = entries[key]
    if spec[key] then
      out[key] = take(e, spec[key], report)
    elseif not (other and other(key, e)) then
      report.warn(e, hint(key, spec, report))
    end
  end
  for entry, s in pairs(spec) do
    if not entries[entry] then out[entry] = default_of(entry, s) end
  end
  return out
end

-- Files of NAME.Entry.
local function read_sections(file, spec, report)
  local out, by_name = {}, {}
  local entries, order = in_force(file, report)
  for _, key in ipairs(order) do
    local e = entries[key]
    local name, entry = key:match("^(.*)%.([^.]*)$")
    if not name or not name:find("^[%w_-]+$") or #name > 60 then
      report.error(e, "entries of this file are written NAME.Entry, the name of letters, digits, _ and -")
    elseif not spec[entry] then
      report.warn(e, hint(entry, spec, report))
    else
      local section = by_name[name]
      if not section then
        section = { name = name, first = e, given = {} }
        by_name[name] = section
        out[#out + 1] = section
      end
      section[entry] = take(e, spec[entry], report)
      section.given[entry] = true
    end
  end
  for _, section in ipairs(out) do
    for entry, s in pairs(spec) do
      if not section.given[entry] then section[entry] = default_of(entry, s) end
    end
  end
  return out
end

-- Secure-ADDRESS=CERTIFICATE. The address may be bare IPv4, or IPv6 in brackets, or IPv6 with \: for its colons.
local function secure_entry(list, report)
  local place = {} -- address -> index in list
  return function(key, e)
    local text = key:match("^Secure%-(.*)$")
    if not text then
      if key:lower():find("^secure%-") then
        report.warn(e, "unknown entry: capital and small letters matter, write Secure-ADDRESS; it is ignored")
        return true
      end
      return false
    end
    text = kinds.trim(text)
    local inner = text:match("^%[(.*)%]$")
    local address, why = addr.parse(inner or text)
    if inner and address and not inner:find(":", 1, true) then
      address, why = nil, "brackets are for IPv6 addresses"
    end
    if not address then
      local cut = not inner and (e.text:find("^:") or (text:find("^%x*$") and e.text:find("^[%x:]+")))
      if cut then
        local whole = (text .. ":" .. e.text):match("^[%x:%.]+") or text
        why = ("a colon ends the name of an entry, so this line does not mean what it says: write Secure-[%s]=%s"):format(
          whole:gsub(":$", ""), e.text:match("=%s*(.*)$") or "")
      elseif addr.hostport(text, true) then
        why = "an address without port is wanted in the name of this entry"
      end
      report.error(e, why)
      return true
    end
    local entry = take(e, { kind = "certificate" }, report)
    if not entry then return true end
    entry.address = address
    local old = list[place[address]]
    if old then report.warn(e, ("%s of line %d names the same address: the later one is in force"):format(old.entry, old.line)) end
    place[address] = old and place[address] or #list + 1
    list[place[address]] = entry
    return true
  end
end

-- One list, no address twice with one port (ports not written count as equal).
local function drop_doubles(entry, report)
  if not entry or type(entry.value) ~= "table" or not entry.value[1] then return end
  local seen, kept = {}, {}
  for _, item in ipairs(entry.value) do
    local key = item.address .. "/" .. (item.port or "")
    if seen[key] then
      report.warn(at(entry, nil, item.address), "the address is in the list twice: once is enough")
    else
      seen[key] = true
      kept[#kept + 1] = item
    end
  end
  entry.value = kept
end

-- Components on one server share their internal port (M49).
local internal_of = { hub = { "hub", "hub.ini" }, ui = { "lui", "lui.ini" }, tracker = { "tracker", "tracker.ini" } }
local function check_internal(r, report)
  local first
  for _, component in ipairs(schema.components) do
    local section = internal_of[component][1]
    local e = r.components[component] and r[section].RMIPort
    if e then
      if first and first.value ~= e.value then
        local function said(x, file)
          return x.file == "" and ("%s has none, so %d"):format(file, x.value) or ("%s:%d has %d"):format(x.file, x.line, x.value)
        end
        local named = e.file ~= "" and e or first
        local what = "components on one server share this port, but %s and %s: give both the same value"
        report.error(at(named, nil, "" .. named.value), what:format(said(first, r.internal_file), said(e, internal_of[component][2])))
        return
      end
      if not first or first.file == "" then
        first, r.internal_file = e, internal_of[component][2]
      end
    end
  end
  r.internal_port = first
end

local function check_listeners(r, report)
  for _, l in ipairs(r.listeners) do
    local builtin = schema.builtin[l.name]
    for entry in pairs(l.given) do
      if builtin and not schema.limits[entry] then
        local e = l[entry] or l.first
        local what = "listener %s gets its sockets from other files: here it can only have " ..
          "Restriction, List, MaxConnections, MaxPerAddress, Reserve, Backlog"
        report.error(at(e, l.name .. "." .. entry), what:format(l.name))
      end
    end
    if not builtin and not l.given.Port then report.error(at(l.first, l.name .. ".Port"), "a listener needs a port") end
    local restriction = l.Restriction
    if restriction and restriction.value ~= "None" and not l.List then
      local what = "a restriction needs an address list: add %s.List=NAME for lists/NAME.list"
      report.error(at(restriction, nil, restriction.value), what:format(l.name))
    end
    if l.Reserve and l.Reserve.value > 0 and l.MaxConnections and l.MaxConnections.value == 0 then
      report.warn(at(l.Reserve, nil, "" .. l.Reserve.value), ("a reserve without %s.MaxConnections keeps nobody out"):format(l.name))
    end
    drop_doubles(l.Address, report)
  end
end

local function check_certificates(r, report)
  for _, c in ipairs(r.certificates) do
    if not c.given.Certificate then
      report.error(at(c.first, c.name .. ".Certificate"), "the file with the certificate is missing")
    end
    if c.Password and c.PasswordFile then
      report.error(at(c.PasswordFile, nil, c.PasswordFile.value), "give the password or a file with it, not both")
    end
  end
end

-- Overrides, written FILE<blank>ENTRY=VALUE in the text of the bundle file "--set", become entries behind those of their file.
local function add_overrides(files, report)
  local set = files["--set"]
  for _, e in ipairs(set and set.entries or {}) do
    local entry, value = e.value:match("^([^=]+)=(.*)$")
    local place = { file = "--set", line = 0, entry = e.key .. ":" .. (entry or e.value), text = value }
    if not entry then
      report.error(place, "an override is written FILE:ENTRY=VALUE")
    elseif not (schema[e.key] or schema.sections[e.key]) then
      report.error(place, "there is no such file; overrides may name " .. near.join(schema.order))
    else
      local file = files[e.key] or { display = e.key, entries = {} }
      files[e.key] = file
      file.entries[#file.entries + 1] = { key = kinds.trim(entry), value = value, line = 0, file = "--set", from_set = true }
    end
  end
end

-- files: { ["tomcat.ini"] = { display = "conf/tomcat.ini", entries = { { key=, value=, line= }, … } }, … }, see read().
-- Returns the rules table and a report {errors=, warnings=, more=}; with errors the table is not to be used.
-- quiet: nobody will read the warnings, so none takes pains over its words.
-- only: the name of a file; the result is that section alone, without what files say about each other.
function rules.build(files, quiet, only)
  local report = new_report(quiet)
  local mine = {}
  for name, file in pairs(files) do
    local entries = {}
    for i, e in ipairs(file.entries) do
      entries[i] = e
    end
    mine[name] = { display = file.display, entries = entries }
  end
  add_overrides(mine, report)
  local r, secure = {}, {}
  for _, name in ipairs(only and { only } or schema.order) do
    local file = mine[name] or { display = name, entries = {} }
    local section = name:gsub("%.ini$", "")
    if schema.sections[name] then
      r[section] = read_sections(file, schema.sections[name], report)
    else
      r[section] = read_plain(file, schema[name], report, name == "tomcat.ini" and secure_entry(secure, report) or nil)
    end
  end
  if only then return r[only:gsub("%.ini$", "")], report end
  r.tomcat.secure = secure
  drop_doubles(r.tomcat.BindAddress, report)
  drop_doubles(r.tomcat.SecureServer, report)
  r.components = {}
  for _, name in ipairs(r.portreeve.Components and r.portreeve.Components.value or {}) do
    r.components[name] = true
  end
  if next(report.errors) == nil then
    check_internal(r, report)
    check_listeners(r, report)
    check_certificates(r, report)
  end
  return r, report
end

-- The same from texts: { ["tomcat.ini"] = { display =, text = }, …, ["--set"] = { text = } }.
function rules.read(texts, quiet, only)
  local ini = require "portreeve.ini_c"
  local files, failed = {}, {}
  for name, t in pairs(texts) do
    local ours = schema[name] or schema.sections[name] or name == "--set" -- my.ini and ssl.ini have rules and readers of their own
    if only and name ~= only and name ~= "--set" then ours = false end
    local entries, why = nil, nil
    if ours then entries, why = ini.parse(t.text, t.display or name) end
    if entries then
      files[name] = { display = t.display or name, entries = entries }
    elseif ours then
      failed[#failed + 1] = why
    end
  end
  local r, report = rules.build(files, quiet, only)
  for _, why in ipairs(failed) do
    report.errors[#report.errors + 1] = why
  end
  return r, report
end

-- What the gate needs beside the policies: plain values that C reads.
--   settings: field of the plan -> integer; components: "tracker,ui,hub"; user: text or nil;
--   certificates: { { name=, certificate=, key=, password=, password_file=, names=, file=, line=, entry= }, … }
function rules.for_gate(r)
  local mine = r.portreeve
  local out = { settings = {}, certificates = {}, components = concat(mine.Components.value, ","), user = mine.User and mine.User.value }
  for entry, spec in pairs(schema["portreeve.ini"]) do
    if spec.field then out.settings[spec.field] = mine[entry].value end
  end
  local function value(e) return e and e.value end
  for i, c in ipairs(r.certificates) do
    local from = c.Certificate
    out.certificates[i] = {
      name = c.name, certificate = from.value, key = value(c.Key), password = value(c.Password), password_file = value(c.PasswordFile),
      names = c.Names and concat(c.Names.value, ",") or nil, file = from.file, line = from.line, entry = from.entry,
    }
  end
  return out
end

return rules
