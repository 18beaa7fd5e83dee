-- Configuration files -> the rules table that policies and handlers read.
--   rules.tomcat.Port = { value = 8080, file = "conf/tomcat.ini", line = 3, entry = "Port", text = "8080" }
-- Every entry of portreeve.schema is there; one that no file sets has its default, file "" and line 0; one without default is nil.
--   rules.tomcat.secure  = { { address=, value = certificate name, file=, line=, entry= }, … }   the Secure-ADDRESS entries
--   rules.listeners      = { { name =, Port = {…}, …, sockets = { … } }, … } in file order; sockets are the listener's own line and its
--                          rows, each with every entry of its own, `removed` where its port is 0
--   rules.certificates   = { { name =, Certificate = {…}, … }, … } in file order
--   rules.groups         = { lan = { value = { { name = "eth0" }, { address = "192.0.2.1" } }, … } }       the Group-NAME entries
--   rules.components     = { tracker = true, … }           rules.portnames = the names of ports (portreeve.portnames)
--   rules.database       = { port = {…}, bind = text or nil }, where the ui is here and has a my.ini; else nil
-- Strict: a bad value is an error; an unknown entry is a warning, since files of the old product hold entries that we do not have.
local checks = require "portreeve.checks"
local clientcert = require "portreeve.clientcert"
local entries = require "portreeve.entries"
local mysql_ini = require "portreeve.mysql_ini"
local portnames = require "portreeve.portnames"
local report = require "portreeve.report"
local schema = require "portreeve.schema"
local tunnels = require "portreeve.tunnels"
local ipairs, next, pairs, require = ipairs, next, pairs, require
local concat = table.concat
local _ENV = nil

local rules = {}

-- The files with lists of their own, so that overrides do not change what was handed in.
local function copies(files)
  local out = {}
  for name, file in pairs(files) do
    local list = {}
    for i, e in ipairs(file.entries or {}) do
      list[i] = e
    end
    out[name] = { display = file.display or name, entries = list, text = file.text }
  end
  return out
end

local function section_of(name)
  return (name:gsub("%.ini$", ""))
end

local function components_of(r)
  local out = {}
  for _, name in ipairs(r.portreeve.Components and r.portreeve.Components.value or {}) do
    out[name] = true
  end
  return out
end

local function read_files(files, ctx, short)
  local r, secure, groups = {}, {}, {}
  local other = { ["tomcat.ini"] = entries.secure(secure, ctx), ["portreeve.ini"] = entries.group(groups, ctx) }
  for _, name in ipairs(short and schema.short or schema.order) do
    local file = files[name] or { display = name, entries = {} }
    local section = section_of(name)
    if schema.sections[name] then
      r[section] = entries.sections(file, schema.sections[name], ctx, name == "listeners.ini" and schema.rows or nil, schema.keyed[name])
    else
      r[section] = entries.plain(file, schema[name], ctx, other[name])
    end
  end
  r.components = components_of(r)
  if short then return r end
  r.tomcat.secure, r.groups, r.portnames = secure, groups, ctx.names
  entries.drop_doubles(r.tomcat.BindAddress, ctx)
  entries.drop_doubles(r.tomcat.SecureServer, ctx)
  return r
end

-- files: { ["tomcat.ini"] = { display = "conf/tomcat.ini", entries = { { key=, value=, line= }, … } }, … }, see read(); `services` and
-- `my.ini`, which are no INI files, are { display =, text = }.
-- Returns the rules table and a report {errors=, warnings=, more=}; with errors the table is not to be used.
-- quiet: nobody will read the warnings, so none takes pains over its words.
-- short: only the sections of the files that say nothing of sockets (schema.short), which are short and say things about each other.
function rules.build(files, quiet, short)
  local ctx = { report = report.new(quiet) }
  local mine = copies(files)
  local services, database = mine.services, mine["my.ini"]
  ctx.names = services and portnames.read(services.text, services.display, ctx.report) or portnames.new()
  entries.add_overrides(mine, ctx)
  local r = read_files(mine, ctx, short)
  if r.components.ui and database and not short then
    r.database = mysql_ini.read(database.text, database.display, ctx.report)
  end
  if next(ctx.report.errors) == nil then
    checks.ports(r, ctx)
    if not short then checks.listeners(r, ctx) end
    if not short then checks.certificates(r, ctx) end
  end
  return r, ctx.report
end

-- The same from texts: { ["tomcat.ini"] = { display =, text = }, …, ["--set"] = { text = } }.
function rules.read(texts, quiet, short)
  local ini = require "portreeve.ini_c"
  local files, failed, wanted = {}, {}, { ["--set"] = true }
  for _, name in ipairs(short and schema.short or schema.order) do
    wanted[name] = true
  end
  for name, t in pairs(texts) do
    if wanted[name] then
      local list, why = ini.parse(t.text, t.display or name)
      if list then
        files[name] = { display = t.display or name, entries = list }
      else
        failed[#failed + 1] = why
      end
    elseif name == "my.ini" or name == "services" then -- they have rules of their own
      files[name] = t
    end
  end
  local r, found = rules.build(files, quiet, short)
  for _, why in ipairs(failed) do
    found.errors[#found.errors + 1] = why
  end
  return r, found
end

-- Lists that stand in entries of listeners.ini.
local function inline_lists(r)
  local out = {}
  local function take(line)
    for _, entry in ipairs { "List", "ProxyFrom" } do
      local e = line.given[entry] and line[entry]
      if e and e.inline then out[#out + 1] = { name = e.value, text = e.inline, file = e.file, line = e.line } end
    end
  end
  for _, l in ipairs(r.listeners) do
    take(l)
    for _, row in ipairs(l.rows) do
      take(row)
    end
  end
  return out
end

-- What the gate needs beside the policies: plain values that C reads.
--   settings: field of the plan -> integer; components: "tracker,ui,hub"; user: text or nil;
--   certificates: { { name=, certificate=, key=, password=, password_file=, names=, file=, line=, entry= }, … }
--   client_files: CAs of callers' certificates
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
  out.tunnel_edits = tunnels.may_edit(r)
  out.lists = inline_lists(r)
  out.client_files = clientcert.files(r)
  return out
end

-- Listeners of which hub and console may change nothing. t: now = the rules with the edits, before = the texts without them.
function rules.closed_to_edits(t)
  return tunnels.may_edit(t.now) and {} or tunnels.names((rules.read(t.before, true)), t.now)
end

return rules
