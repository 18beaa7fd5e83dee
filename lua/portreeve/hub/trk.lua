--- TRK Settings → General Administration (M56, M57): the communications port, changed at once, and what else the tracker goes by.
local change = require "portreeve.hub.change"
local commport = require "portreeve.hub.commport"
local conf_of = require "portreeve.web.conf"
local html = require "portreeve.web.html"
local kinds = require "portreeve.kinds"
local layout = require "portreeve.web.layout"
local plain = require "portreeve.hub.plain"
local schema = require "portreeve.schema"
local sockets = require "portreeve.hub.sockets"
local ipairs, tostring, type = ipairs, tostring, type
local h = html.tag
local _ENV = nil

local FILE, ENTRY = "tracker.ini", "CommunicationsPort"

-- Read here, changed in the file: section, file, entry, what it is.
local others = {
  { "lui", "TransferInterval", "Event transfer interval", "0 = as events come" }, { "portreeve", "Durability", "Durability" },
  { "portreeve", "TrackingLevel", "Tracking level, at most" }, { "portreeve", "SpoolMaxBytes", "Spool, at most" },
  { "tracker", "TrackerId", "Name of this tracker" }, { "tracker", "EarlyTime", "Classifier: soon after sending" },
  { "tracker", "BurstLinks", "Classifier: links of one recipient" }, { "tracker", "BurstTime", "Classifier: … within" },
  { "tracker", "TrapTime", "Classifier: after a trap link" }, { "tracker", "UndoDays", "Unsubscribes can be taken back for" },
}

local function entry_of(conf, section, entry)
  local e = type(conf[section]) == "table" and conf[section][entry]
  return type(e) == "table" and e or nil
end

local function said_in(e)
  if not e or (e.file or "") == "" then
    return "built-in default"
  end
  return (e.line or 0) > 0 and ("%s:%d"):format(e.file, e.line) or e.file
end

local function value_text(section, entry, e)
  local spec = schema[section .. ".ini"][entry] or {}
  if spec.words and type(e.value) == "number" then
    return spec.words[e.value + 1] or tostring(e.value)
  end
  return tostring(e.value) .. (spec.unit and not spec.words and " " .. spec.unit or "")
end

local function other_rows(conf)
  local rows = {}
  for _, o in ipairs(others) do
    local e = entry_of(conf, o[1], o[2])
    if e then
      rows[#rows + 1] = { o[3], { value_text(o[1], o[2], e), o[4] and h.span { class = "hint block", o[4] } },
        { h.code { said_in(e) }, " ", h.span { class = "entry", o[2] } } }
    end
  end
  return rows
end

-- A ui that was told a port of its own does not follow.
local function left_behind(conf)
  local e = conf_of.written(conf, "lui", "TrackerCommunicationsPort") and entry_of(conf, "lui", "TrackerCommunicationsPort")
  return e and layout.note("warn", h.p { h.code { said_in(e) }, " tells the ui to ask port ", tostring(e.value),
    ": change that line with this port, or remove it." })
end

local function bound(status)
  local lines = {}
  for _, s in ipairs(status.listeners or {}) do
    if s.name == "communications" then
      lines[#lines + 1] = h.li { h.span { class = "bound", sockets.state(s) }, h.span { class = "why", "because of ",
        sockets.because(s.because) } }
    end
  end
  return lines[1] and h.ul { class = "bound-list", lines } or h.p { class = "hint", "No tracker is installed here, so it is not bound." }
end

-- A tracker on another server: what it said of itself last, and what it has still to be told.
local function far_port(c)
  local contacts = c.accounts:contacts() or {}
  return plain.decoded(contacts.tracker and contacts.tracker.status).communications_port
end

local function far_state(c)
  local contacts = c.accounts:contacts() or {}
  local k, wish = contacts.tracker, commport.state(c.accounts)
  local port = far_port(c)
  return { h.p { port and { "Port ", h.b { tostring(port // 1 | 0) } } or "Nothing is known of it yet", k and { ", as it said at ",
    h.code { k.place } } or nil, "." },
    wish and not wish.refused and layout.note("warn", h.p { "Port ", h.b { wish.value }, ", wished by ", wish.account,
      ", is handed to the tracker as soon as that is reached", (wish.fault or "") ~= "" and { " (", wish.fault, ")" } or nil, "." }) or nil,
    wish and wish.refused and layout.note("bad", h.p { "The tracker refused port ", h.b { wish.value }, ", wished by ", wish.account, "." },
      change.said(wish.fault, "bad")) or nil }
end

local function far_form(c, typed, fault)
  local port = far_port(c)
  return h.form { method = "post", action = c.site.prefix .. "/trk/general", novalidate = true, layout.csrf_field(c),
    h.div { class = "field short", h.label { ["for"] = "port", "Communications port" },
      h.input { id = "port", name = "port", type = "text", inputmode = "numeric", maxlength = 8, autocomplete = "off",
        value = typed or (port and ("%d"):format(port // 1)) or "", ["aria-describedby"] = "port-hint",
        ["aria-invalid"] = fault and "true" or nil },
      h.p { class = "hint", id = "port-hint", "The tracker is on another server. A change is handed to it on its internal port, at once ",
        "or as soon as it is reached." } },
    h.button { type = "submit", class = "main", "Update" } }
end

local function port_form(c, conf, typed, fault)
  local e = entry_of(conf, "tracker", ENTRY) or { value = 7000 }
  local forced = e.file == "--set"
  return h.form { method = "post", action = c.site.prefix .. "/trk/general", novalidate = true, layout.csrf_field(c),
    h.div { class = "field short", h.label { ["for"] = "port", "Communications port" },
      h.input { id = "port", name = "port", type = "text", inputmode = "numeric", maxlength = 8, autocomplete = "off", disabled = forced,
        value = typed or tostring(e.value), ["aria-describedby"] = "port-hint", ["aria-invalid"] = fault and "true" or nil },
      h.p { class = "hint", id = "port-hint", forced and "Given on the command line, so it cannot be changed here."
        or { "The ui fetches events there. A change takes effect at once; the new port answers before the old one closes. Written in ",
          h.code { said_in(e) }, "." } } },
    not forced and h.button { type = "submit", class = "main", "Update" } or nil }
end

local function page(c, engine, conf, spec)
  local far = commport.remote(engine)
  return c.page({ title = "General Administration", body = {
    h.div { class = "headline", h.div { h.p { class = "crumb", "TRK Settings" }, h.h1 "General Administration" } },
    spec.note, left_behind(conf),
    h.div { class = "columns",
      h.section { class = "card", id = "communications", h.h2 "Communications",
        far and far_form(c, spec.typed, spec.fault) or port_form(c, conf, spec.typed, spec.fault),
        h.h2 { class = "next", "Bound now" }, far and far_state(c) or bound(plain.status(engine)) },
      h.section { class = "card", id = "tracker-settings", h.h2 "Other settings",
        h.p { class = "hint", "These are changed in their files and come into force with a reload." },
        layout.data_table { caption = "Settings of the tracker", class = "plain", rows = other_rows(conf), empty = "–",
          columns = { { label = "Setting" }, { label = "Value" }, { label = "Because of" } } } } },
  } }, spec.status)
end

local function show(engine, conf)
  return function(c)
    return page(c, engine, conf, {})
  end
end

local function update(engine, conf)
  return function(c)
    local typed = kinds.trim(c.form.port or "")
    local e = entry_of(conf, "tracker", ENTRY) or { value = 7000, file = "" }
    local function refused(text)
      return page(c, engine, conf, { typed = typed, fault = true, status = 422, note = layout.note("bad",
        h.h2 { "The port stays ", tostring(e.value) }, change.said(text)) })
    end
    local value, why = kinds.port(typed, schema[FILE][ENTRY])
    if not value then
      return refused(("%s: %s"):format(typed, why))
    elseif commport.remote(engine) then
      local what, text = commport.wish { conf = conf, engine = engine, accounts = c.accounts, account = c.account, address = c.req.address,
        port = value }
      local done = what == "done" and "port" or "wished"
      return what == "refused" and refused(text) or c.redirect(c.site.prefix .. "/trk/general?done=" .. done)
    elseif value == e.value then
      return page(c, engine, conf, { note = layout.note("good", h.p { tostring(value),
        " is the communications port already: nothing to change." }) })
    end
    return change.run(c, engine, { title = "General Administration", action = c.site.prefix .. "/trk/general",
      back = c.site.prefix .. "/trk/general", what = "communications port", dangers = {}, done = "port", refused = refused,
      edits = { { file = FILE, entry = ENTRY, value = tostring(value) } },
      words = { ("%s: %s → %d"):format(ENTRY, tostring(e.value), value) } })
  end
end

return { show = show, update = update }
