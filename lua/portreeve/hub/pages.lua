--- The hub's pages: status of everything on one page, and the reload button.
local html = require "portreeve.web.html"
local layout = require "portreeve.web.layout"
local plain = require "portreeve.hub.plain"
local store = require "portreeve.db.urls"
local urlcheck = require "portreeve.hub.urlcheck"
local sockets = require "portreeve.hub.sockets"
local sys = require "portreeve.sys"
local ipairs, pairs, tointeger, tonumber, tostring = ipairs, pairs, math.tointeger, tonumber, tostring
local h, number, whole = html.tag, layout.number, sockets.whole
local _ENV = nil

local STALE_MS = 60000
local DAY_MS = 86400000
local LISTENERS_SHOWN = 200 -- a plan may have thousands of sockets; the page of listeners has them by listener

local function amount(v)
  return number(whole(v) or 0)
end

-- The words that look different on the page: what it says, how it is meant.
local function contact_badge(k, now)
  if not k then
    return layout.badge("quiet", "Not asked yet")
  elseif k.fault and k.fault ~= "" then
    return layout.badge("bad", "No contact")
  elseif now - k.tried_ms > STALE_MS then
    return layout.badge("warn", "Stale")
  end
  return layout.badge("good", "Running")
end

local title_of = { hub = "Hub", ui = "Ui", tracker = "Tracker" }

local function component_section(c, contacts, names)
  local rows = {}
  for i, name in ipairs(names) do
    local k = contacts[name]
    rows[i] = { title_of[name], contact_badge(k, c.now), k and k.version or "–", k and h.code { k.place } or "–",
      { k and k.seen_ms and layout.ago(k.seen_ms, c.now) or "never", k and k.fault and k.fault ~= "" and h.p { class = "hint", k.fault } } }
  end
  return h.section { class = "card", id = "components", h.h2 "Components",
    layout.data_table { caption = "Components", rows = rows, columns = { { label = "Component" }, { label = "State" },
      { label = "Version" }, { label = "Asked at" }, { label = "Last contact" } } } }
end

local function listener_section(status)
  local all, some = status.listeners or {}, {}
  for i = 1, #all < LISTENERS_SHOWN and #all or LISTENERS_SHOWN do
    some[i] = all[i]
  end
  local rows = html.map(some, function(l)
    return { { h.b { l.name }, h.span { class = "hint block", sockets.state(l) } }, h.code { l.address }, whole(l.port) or "–",
      sockets.scheme(l), (tostring(l.services or "")):gsub(",", ", "), sockets.restriction(l), amount(l.active),
      sockets.because(l.because) }
  end)
  return h.section { class = "card", id = "listeners", h.h2 "Listeners",
    layout.data_table { caption = "Listeners, and the rule behind each", rows = rows,
      columns = { { label = "Listener" }, { label = "Address" }, { label = "Port", class = "num" }, { label = "Scheme" },
        { label = "Carries" }, { label = "Admits" }, { label = "Active", class = "num" }, { label = "Because of" } } },
    #all > #some and h.p { class = "hint", "and ", number(#all - #some), " more sockets; ",
      h.a { href = "/hub/listeners", "Listeners" }, " shows them by listener." } or nil }
end

local function reload_section(c, status)
  local r = status.last_reload
  r = r and (whole(r.at_ms) or 0) > 0 and r or nil
  local result = r and (r.ok and layout.badge("good", "In force") or layout.badge("bad", "Refused"))
    or layout.badge("quiet", "None since start")
  return h.section { class = "card", id = "reload", h.h2 "Configuration",
    h.dl { class = "facts", h.div { h.dt "Last reload", h.dd { result, r and { " ", layout.stamp(whole(r.at_ms)) } } },
      h.div { h.dt "Generation", h.dd { amount(status.generation) } },
      h.div { h.dt "In force since", h.dd { layout.stamp(whole(status.generation_ms or status.since_ms)) } } },
    r and (r.text or "") ~= "" and h.pre { class = r.ok and "said" or "said bad", tabindex = "0", r.text },
    h.p { class = "hint", "A reload reads all files anew and checks them. If anything is wrong, nothing changes, and the reason is ",
      "shown here." },
    layout.post_button(c, c.site.prefix .. "/reload", "Reload configuration", nil, "main") }
end

local function backlog_section(status, contacts)
  local tracker = plain.decoded(contacts.tracker and contacts.tracker.status)
  local s = status.spool or tracker.spool
  if not s then
    return h.section { class = "card", id = "backlog", h.h2 "Events",
      h.p { class = "empty", "Nothing is known of the tracker's spool yet." } }
  end
  local behind = plain.decoded(contacts.ui and contacts.ui.status).reports
  local first = behind and behind.sources and behind.sources[1]
  return h.section { class = "card", id = "backlog", h.h2 "Events",
    h.dl { class = "facts",
      h.div { h.dt "Waiting for the ui", h.dd { h.b { amount(s.backlog) } } },
      h.div { h.dt "Made durable", h.dd { amount(s.committed) } },
      h.div { h.dt "Dropped", h.dd { amount(s.dropped), (tonumber(s.dropped) or 0) > 0 and { " ", layout.badge("bad", "Lost") } } },
      h.div { h.dt "Spool", h.dd { layout.bytes(tonumber(s.bytes) or 0), s.failing and { " ", layout.badge("bad", "Failing") } } },
      h.div { h.dt "Ui has events up to", h.dd { first and first.upto_ms and layout.stamp(whole(first.upto_ms)) or "–" } } } }
end

-- not_after is unix seconds or ms; certificates of this century tell which.
local function expiry(v)
  local n = tonumber(v)
  if not n then
    return nil
  end
  return tointeger(n < 1e11 and n * 1000 // 1 or n // 1)
end

local function certificate_section(c, status)
  local rows = html.map(status.certificates or {}, function(k)
    local ends = expiry(k.not_after)
    local left = ends and (ends - c.now) / DAY_MS
    local kind = not left and "quiet" or left < 0 and "bad" or left < 30 and "warn" or "good"
    local text = not left and "unknown" or left < 0 and "expired" or ("%d days left"):format(left // 1 | 0)
    return { { h.b { k.name }, h.span { class = "hint block", k.subject }, k.names ~= "" and h.span { class = "hint block", k.names } },
      ends and layout.moment(ends) or "–", layout.badge(kind, text) }
  end)
  return h.section { class = "card", id = "certificates", h.h2 "Certificates",
    layout.data_table { caption = "Certificates and their expiry", class = "plain", rows = rows, empty = "No listener uses TLS.",
      columns = { { label = "Name" }, { label = "Valid until" }, { label = "State" } } } }
end

local function alarms_of(status, contacts, now, stored, conf)
  local out = {}
  local function add(...)
    out[#out + 1] = h.li { ... }
  end
  local ui = plain.decoded(contacts.ui and contacts.ui.status).reports or {}
  if (tonumber(ui.alarms) or 0) > 0 then
    add("Event transfer: ", amount(ui.alarms), " alarm(s) wait for a decision. ", h.a { href = "/lui/", "Look at them in the ui" }, ".")
  end
  for _, s in ipairs(ui.sources or {}) do
    if s.fault and s.fault ~= "" then
      add("Event transfer from ", s.tracker or s.place, " fails: ", s.fault)
    end
  end
  if ui.fault then
    add("The ui's database: ", ui.fault)
  end
  local spool = status.spool
  if spool and spool.failing then
    add("The spool cannot write: events are refused. Look at the disk and at the log.")
  end
  if spool and (tonumber(spool.dropped) or 0) > 0 then
    add(amount(spool.dropped), " event(s) were dropped since the engine started.")
  end
  for name, k in pairs(contacts) do
    if k.fault and k.fault ~= "" then
      add(title_of[name] or name, " does not answer at ", h.code { k.place }, ": ", k.fault)
    end
  end
  for _, k in ipairs(status.certificates or {}) do
    local ends = expiry(k.not_after)
    if ends and ends - now < 30 * DAY_MS then
      add("Certificate ", h.b { k.name }, ends < now and " has expired." or " expires soon.")
    end
  end
  for _, text in ipairs(urlcheck.warnings(stored, conf, status)) do
    add(text, " ", h.a { href = "/hub/lui/urls", "URL Settings" })
  end
  if status.last_reload and not status.last_reload.ok then
    add("The last reload was refused; the files on disk are not what is in force.")
  end
  return out
end

local function alarm_section(alarms)
  if #alarms == 0 then
    return h.section { class = "note good", id = "alarms", role = "status", h.h2 { class = "unseen", "Alarms" }, h.p "No alarms." }
  end
  return h.section { class = "note bad", id = "alarms", role = "alert", h.h2 { "Alarms (", #alarms, ")" }, h.ul(alarms) }
end

local function status_page(engine, names, conf)
  return function(c)
    local status = plain.status(engine)
    local contacts, why = c.accounts:contacts()
    local stored, fault = store.new(c.accounts.db):all()
    if not contacts or not stored then
      return c.unavailable(why or fault)
    end
    return c.page { title = "Status", body = {
      h.div { class = "headline", h.h1 "Status",
        h.div { class = "upto", h.p { "As of ", layout.stamp(c.now), ". Running since ", layout.stamp(whole(status.since_ms)), "." } } },
      alarm_section(alarms_of(status, contacts, c.now, stored, conf)),
      h.div { class = "columns", h.div { component_section(c, contacts, names), backlog_section(status, contacts) },
        h.div { reload_section(c, status), certificate_section(c, status) } },
      listener_section(status),
    } }
  end
end

local function reload(engine)
  return function(c)
    local ok, text = engine.reload()
    c.accounts:audit(c.account, c.req.address, "reload", (ok and "in force: " or "refused: ") .. tostring(text):sub(1, 2000))
    sys.log("notice", "hub", "reload asked for by " .. c.account .. ": " .. (ok and "in force" or "refused"))
    return c.redirect(c.site.prefix .. "/?done=" .. (ok and "reloaded" or "refused") .. "#reload")
  end
end

return { status = status_page, reload = reload }
