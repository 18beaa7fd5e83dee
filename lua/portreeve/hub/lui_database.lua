--- LUI Settings → System Database Status (M60–M63): does the ui reach its database, and which one is it? Described here, tested from here,
-- and used by the ui at its next turn, without a restart.
local contacts = require "portreeve.hub.contacts"
local databases = require "portreeve.db.databases"
local handle = require "portreeve.db.handle"
local html = require "portreeve.web.html"
local http = require "portreeve.http"
local kinds = require "portreeve.kinds"
local layout = require "portreeve.web.layout"
local menu = require "portreeve.hub.menu"
local plain = require "portreeve.hub.plain"
local sys = require "portreeve.sys"
local ipairs, pairs, tostring, type = ipairs, pairs, tostring, type
local h = html.tag
local _ENV = nil

local INTERNAL, MYSQL = databases.INTERNAL, databases.MYSQL

-- What the ui itself said last: its own view is the one that counts.
local function state_of(contact)
  if not contact or not contact.tried_ms then
    return "quiet", "Not asked yet"
  elseif (contact.fault or "") ~= "" then
    return "warn", "Unknown", "The ui does not answer: " .. contact.fault
  end
  local said = plain.decoded(contact.status)
  local d = said.database
  if type(d) ~= "table" then
    return "quiet", "Not asked yet"
  elseif d.ok then
    return "good", "OK", nil, d
  end
  return "bad", "Connection Failure", tostring(d.fault or "the ui does not say why"), d
end

local function line(label, value)
  return value and h.div { h.dt { label }, h.dd { value } } or nil
end

local function status_card(c, v)
  local kind, word, fault, d = state_of(v.contact)
  d = d or {}
  return h.section { class = "card", id = "database", h.h2 "Status",
    h.dl { class = "facts", line("System database", layout.badge(kind, word)), line("In use by the ui", d.place and h.code { d.place }),
      line("Server version", d.version), line("Answered in", d.ms and ("%.1f ms"):format(d.ms)),
      line("Asked", v.contact and v.contact.tried_ms and layout.ago(v.contact.tried_ms, c.now)) },
    fault and h.pre { class = "said bad", tabindex = "0", fault },
    h.p { class = "hint", "The hub asks the ui every ten seconds. The tracker needs no database: it goes on and keeps every event until ",
      "the ui has it." },
    layout.post_button(c, c.site.prefix .. "/lui/database/check", "Ask now") }
end

local function field(v, key, label, more)
  local id = "db-" .. key
  local attributes = { id = id, name = key, type = "text", autocomplete = "off", autocapitalize = "none", spellcheck = "false",
    maxlength = 255, value = v.typed[key] and tostring(v.typed[key]) or "",
    ["aria-invalid"] = v.faults and v.faults[key] and "true" or nil }
  for k, x in pairs(more or {}) do
    attributes[k] = x
  end
  return h.div { class = "field", h.label { ["for"] = id, label }, h.input(attributes),
    v.faults and v.faults[key] and h.p { class = "fault", role = "alert", v.faults[key] } }
end

local function choice(v, key, label, words)
  return h.div { class = "field", h.label { ["for"] = "db-" .. key, label }, h.select { id = "db-" .. key, name = key,
    html.map(words, function(w) return h.option { value = w, selected = v.typed[key] == w, w } end) } }
end

local function settings_card(c, v)
  return h.section { class = "card", id = "settings", h.h2 "System database",
    h.form { method = "post", action = c.site.prefix .. "/lui/database", novalidate = true, layout.csrf_field(c),
      choice(v, "plugin", "Database plugin", { INTERNAL, MYSQL }),
      h.div { class = "for-mysql", field(v, "name", "Database name"), field(v, "user", "User"),
        field(v, "password", "Password", { type = "password", value = "", autocomplete = "new-password",
          placeholder = v.has_password and "unchanged" or "" }),
        field(v, "host", "Host"), field(v, "port", "Port", { inputmode = "numeric", maxlength = 8 }),
        choice(v, "ssl", "SSL", { "Off" }),
        h.p { class = "hint", "The client library that is used here has no SSL for databases. ", h.code "localhost", " means 127.0.0.1: ",
          "the port counts, not a Unix socket." } },
      v.result and layout.note(v.result.ok and "good" or "bad", h.p { v.result.text }),
      h.div { class = "buttons", h.button { type = "submit", class = "main", name = "do", value = "use", "Save and use" },
        h.button { type = "submit", name = "do", value = "test", "Test" } } },
    h.p { class = "hint", "No restart: the ui changes over at its next turn. What has been counted stays in the database where it is; the ",
      "new one begins with the events that the tracker still has, and an alarm in the ui says from which on." } }
end

local function page(c, conf, v)
  local known, why = c.accounts:contacts()
  local stored, fault = databases.new(c.accounts.db):get()
  if not known or stored == nil then
    return c.unavailable(why or fault)
  end
  v.contact = known.ui
  v.has_password = stored and stored.password ~= ""
  local my_ini = conf.database and conf.database.port and conf.database.port.value
  v.typed = v.typed or stored or { plugin = INTERNAL, name = "LUI", user = "luiuser", host = "localhost", port = my_ini or 3306 }
  return c.page({ title = "System Database Status", body = {
    h.div { class = "headline", h.div { h.p { class = "crumb", "LUI Settings" }, h.h1 "System Database Status" }, menu.tabs(c, menu.lui) },
    h.div { class = "columns", status_card(c, v), settings_card(c, v) } } }, v.code)
end

-- The stored password, where it goes to nobody else than it was given for: a server can have it said in clear, and whoever may open this
-- page must not learn it by describing one of his own.
local function stored_password(d, stored)
  local same = stored and d.host == stored.host and d.port == stored.port and d.user == stored.user
  return same and stored.password or ""
end

-- -> description | nil, faults
local function read(fields, stored)
  local d = { plugin = fields.plugin == MYSQL and MYSQL or INTERNAL }
  local faults, bad = {}, false
  local function fault(key, text)
    faults[key], bad = text, true
  end
  for _, key in ipairs { "name", "user", "host" } do
    d[key] = kinds.trim(fields[key] or "")
    if d.plugin == MYSQL and (d[key] == "" or #d[key] > 255 or d[key]:find("%c")) then
      fault(key, "This is needed.")
    end
  end
  local port, why = kinds.port(fields.port or "", {})
  d.port = port or 0
  if d.plugin == MYSQL and not port then
    fault("port", ("%s: %s"):format(kinds.trim(fields.port or ""), why))
  end
  d.password = (fields.password or "") ~= "" and fields.password or stored_password(d, stored)
  if #d.password > 255 or d.password:find("%z") then
    fault("password", "At most 255 bytes, and no zero byte.")
  elseif d.plugin == MYSQL and d.password == "" and stored and stored.password ~= "" then
    fault("password", "The stored password is for another host, port or user: type the password again.")
  end
  if d.plugin == MYSQL and fields.ssl and fields.ssl ~= "Off" then
    fault("ssl", "SSL is not possible here.")
  end
  return not bad and d or nil, faults
end

-- Opens it, asks its version, changes nothing.
local function try(d)
  local spec = databases.spec_of(d)
  if not spec then
    return { ok = true, text = "The internal database needs no connection." }
  end
  local began, db = sys.mono_ms(), handle.new(spec)
  local row, why = db:one(db.dialect.version)
  db:close()
  if not row then
    return { ok = false, text = "Connection Failure: " .. tostring(why) }
  end
  return { ok = true, text = ("The database %s answers in %d ms: version %s."):format(d.name, (sys.mono_ms() - began) // 1, row.version) }
end

local function show(conf)
  return function(c)
    return page(c, conf, {})
  end
end

local function save(conf)
  return function(c)
    local store = databases.new(c.accounts.db)
    local stored, why = store:get()
    if stored == nil then
      return c.unavailable(why)
    end
    local d, faults = read(c.form, stored)
    if not d then
      return page(c, conf, { typed = c.form, faults = faults, code = 422 })
    elseif c.form["do"] == "test" then
      return page(c, conf, { typed = c.form, result = try(d) })
    end
    local ok, fault = store:put(d, c.account)
    if not ok then
      return c.unavailable(fault)
    end
    local what = d.plugin == MYSQL and ("%s, database %s at %s:%d as %s"):format(d.plugin, d.name, d.host, d.port, d.user) or d.plugin
    c.accounts:audit(c.account, c.req.address, "system database", what)
    sys.log("notice", "hub", "the ui's database was described anew by " .. c.account .. ": " .. what)
    return c.redirect(c.site.prefix .. "/lui/database?done=database")
  end
end

local function check(engine, conf)
  return function(c)
    local place = contacts.place_of(conf, engine, "ui")
    local ok, why = c.accounts:note_contact("ui", place, contacts.ask(http.call, place, "ui", function() return false end))
    if not ok then
      return c.unavailable(why)
    end
    return c.redirect(c.site.prefix .. "/lui/database#database")
  end
end

return { show = show, save = save, check = check }
