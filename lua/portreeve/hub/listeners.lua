--- The page of listeners (G1–G9, G16–G27): add by the last row, whose port is 0; remove by setting a port to 0; one Update for the table.
local change = require "portreeve.hub.change"
local html = require "portreeve.web.html"
local layout = require "portreeve.web.layout"
local listener_form = require "portreeve.hub.listener_form"
local listener_table = require "portreeve.hub.listener_table"
local listening = require "portreeve.hub.listening"
local lockout = require "portreeve.hub.lockout"
local plain = require "portreeve.hub.plain"
local urlcheck = require "portreeve.hub.urlcheck"
local static = require "portreeve.web.static"
local store = require "portreeve.db.urls"
local sys = require "portreeve.sys"
local ipairs, table_concat, tointeger, tonumber = ipairs, table.concat, math.tointeger, tonumber
local h = html.tag
local _ENV = nil

-- The form has about 20 fields a listener.
local MOST = { fields = 20000, bytes = 1048576 }

local function certificates_of(conf)
  local out = {}
  for i, k in ipairs(conf.certificates or {}) do
    out[i] = k.name
  end
  return out
end

local function seal(rows)
  return static.hex(sys.sha256(listening.mark(rows))):sub(1, 32)
end

local function page(c, conf, form, spec)
  local some = spec and spec.note
  return c.page({ title = "Listeners", body = {
    h.div { class = "headline", h.h1 "Listeners", h.div { class = "upto", h.p { "As of ", layout.stamp(c.now), "." } } },
    some,
    h.form { method = "post", action = c.site.prefix .. "/listeners", novalidate = true, class = "card wide-form", id = "listeners",
      layout.csrf_field(c), h.input { type = "hidden", name = "seen", value = spec.seen },
      h.p { class = "hint", "Port 0 in a row removes its listener; a port in the last row adds one, ", h.code(listening.FREE),
        " takes any free port. Every change is tried and shown before anything happens." },
      listener_table.table_of(c, form, certificates_of(conf)),
      h.div { class = "buttons", h.button { type = "submit", class = "main", "Update" },
        #form.added < listener_form.NEW_MOST and h.a { class = "button", href = ("%s/listeners?rows=%d#new-%d"):format(c.site.prefix,
          #form.added + 1, #form.added + 1), "One more empty row" } } },
  } }, spec.status)
end

local function rows_now(engine, conf)
  local status = plain.status(engine)
  return listening.rows(conf, status), status
end

local function show(engine, conf)
  return function(c)
    local rows = rows_now(engine, conf)
    return page(c, conf, listener_form.fresh(rows, tointeger(tonumber(c.query.rows)) or 1), { seen = seal(rows) })
  end
end

local function nothing_changed(lines)
  return layout.note("bad", h.h2 "Nothing has been changed", #lines > 0 and change.said(table_concat(lines, "\n"))
    or h.p "What is wrong stands at its row below.")
end

-- Where the hub answers after a change that may have closed the way back.
local function ways(c, status)
  local host = (c.req.host or ""):gsub(":%d+$", "")
  local out, seen = {}, {}
  for _, s in ipairs(status.listeners or {}) do
    local port = tointeger(tonumber(s.port))
    if lockout.carries_hub(s.services) and port and not s.waiting then
      local any = s.address == "0.0.0.0" or s.address == "::"
      local url = ("%s://%s%s/"):format((s.scheme == "https" or s.external_tls) and "https" or "http",
        any and host ~= "" and ("%s:%d"):format(host, port) or lockout.place(s.address, port), c.site.prefix)
      if not seen[url] then
        seen[url] = true
        out[#out + 1] = h.li { h.a { href = url, url } }
      end
    end
  end
  return #out > 0 and { h.p "The hub answers here:", h.ul(out) }
    or h.p { "No socket serves the hub any more. On the server: add a listener with the service hub to listeners.ini, then ",
      h.code "portreeve reload", "." }
end

local function farewell(c, engine)
  return function(text)
    return c.page { title = "Done", body = h.section { class = "card ask", h.h1 "Done", h.p { class = "lead",
      "The change is in force. The way by which you came may be closed now." }, ways(c, plain.status(engine)), change.said(text) } }
  end
end

local function update(engine, conf)
  return function(c)
    local rows, status = rows_now(engine, conf)
    local seen = seal(rows)
    local form = listener_form.read(rows, c.form)
    local function again(code, note)
      return page(c, conf, form, { seen = seen, note = note, status = code })
    end
    if c.form.seen ~= seen then
      return again(409, layout.note("bad", h.h2 "Nothing has been changed", h.p { "The listeners were changed since this page was opened. ",
        "Look at what they are now and at what you typed, then press Update again." }))
    elseif form.bad then
      return again(422, nothing_changed {})
    elseif #form.edits == 0 then
      return again(200, layout.note("good", h.p "Nothing to change: the table says what is in force."))
    end
    local stored, why = store.new(c.accounts.db):all()
    if not stored then
      return c.unavailable(why)
    end
    local words = html.map(form.edits, listener_form.words)
    return change.run(c, engine, { title = "Listeners", action = c.site.prefix .. "/listeners", back = c.site.prefix .. "/listeners",
      what = "listeners", edits = form.edits, words = words, dangers = lockout.dangers(form, c.req), done = "listeners",
      applied = farewell(c, engine), lost = urlcheck.lost(stored, conf, status, lockout.after(form)),
      refused = function(text) return again(422, nothing_changed(listener_form.place_faults(form, text))) end })
  end
end

return { show = show, update = update, MOST = MOST }
