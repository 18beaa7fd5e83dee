--- The pages of listeners (G1–G9, G16–G27): the table of all, where the last row, whose port is 0, adds one and port 0 removes one; and the
-- page of one with every entry (/listeners/NAME, /listeners/NAME.2 for a further line, /listeners/+1 for a new one). One form, one Update
-- for both: what has no field stays as it is.
local change = require "portreeve.hub.change"
local html = require "portreeve.web.html"
local layout = require "portreeve.web.layout"
local listener_page = require "portreeve.hub.listener_page"
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

-- The table has about ten fields a listener, the page of one about sixty.
local MOST = { fields = 20000, bytes = 1048576 }

local function certificates_of(conf)
  local out = {}
  for i, k in ipairs(conf.certificates or {}) do
    out[i] = k.name
  end
  return out
end

-- What the form was made from: of the page of one listener, its lines.
local function seal(rows, one)
  if one then
    local name, own = one:match("^[^.]*"), {}
    for _, row in ipairs(rows) do
      own[#own + 1] = row.listener == name and row or nil
    end
    rows = own
  end
  return static.hex(sys.sha256(listening.mark(rows))):sub(1, 32)
end

local function update_button(c, ...)
  return h.div { class = "buttons", h.button { type = "submit", class = "main", "Update" }, ... }
end

local function all_page(c, conf, form, spec)
  return c.page({ title = "Listeners", body = {
    h.div { class = "headline", h.h1 "Listeners", h.div { class = "upto", h.p { "As of ", layout.stamp(c.now), "." } } },
    spec.note,
    h.form { method = "post", action = c.site.prefix .. "/listeners", novalidate = true, class = "card wide-form", id = "listeners",
      layout.csrf_field(c), h.input { type = "hidden", name = "seen", value = spec.seen },
      h.p { class = "hint", "Port 0 in a row removes its listener; a port in the last row adds one, ", h.code(listening.FREE),
        " takes any free port. Every change is tried and shown before anything happens." },
      listener_table.table_of(c, form, certificates_of(conf)),
      update_button(c, #form.added < listener_form.NEW_MOST and h.a { class = "button", href = ("%s/listeners?rows=%d#new-%d"):format(
        c.site.prefix, #form.added + 1, #form.added + 1), "One more empty row" } or nil) },
  } }, spec.status)
end

-- The row that a page is about: one that is there, or the first new one.
local function find(form, one)
  for _, list in ipairs { form.rows, form.added } do
    for _, row in ipairs(list) do
      if row.name == one then
        return row
      end
    end
  end
end

local function about(c, row)
  if row.new then
    return row.say.Name ~= "" and h.p { class = "hint", "A further socket of ", h.b { row.say.Name },
      ": what is not changed here it takes from there, the counts too." } or nil
  end
  local link = c.site.prefix .. "/listeners/"
  local locked = row.locked and layout.note("plain", h.p { listening.TUNNEL:format(row.listener) }) or ""
  return { locked, listener_table.sockets_list(row), row.parent and h.p { class = "hint", "What this line does not say it takes from ",
    h.a { href = link .. row.listener, row.listener }, ", where the counts are too." } or not row.fixed and not row.locked
    and h.p { class = "hint", h.a { href = link .. "+1?of=" .. row.name, "Add a further socket" } } or nil }
end

local function one_page(c, conf, form, spec)
  local row = find(form, spec.one)
  if not row or row.fixed and not row.limits then
    return c.problem(404, "No such listener", "There is no listener of this name whose entries could be changed here.")
  end
  row.faults_at = form.faults_at[row.name]
  local certificates, title = certificates_of(conf), row.new and "A new listener" or "Listener " .. row.name
  local all = c.site.prefix .. "/listeners"
  return c.page({ title = title, body = {
    h.p { class = "crumb", h.a { href = all, "Listeners" } },
    h.div { class = "headline", h.h1 { title }, h.div { class = "upto", h.p { "As of ", layout.stamp(c.now), "." } } },
    spec.note,
    h.form { method = "post", action = all, novalidate = true, class = "card one-form", id = "listener", layout.csrf_field(c),
      h.input { type = "hidden", name = "seen", value = spec.seen }, h.input { type = "hidden", name = "one", value = row.name },
      about(c, row),
      listener_page.groups(row, { Certificate = #certificates > 0 and certificates or nil }),
      row.locked and h.div { class = "buttons", h.a { class = "button", href = all, "Back to all listeners" } } or {
        h.p { class = "hint", "An emptied field takes its entry out of the file, so that the default counts. What else the file says, ",
          "and its comments, stay. Every change is tried and shown before anything happens." },
        update_button(c, h.a { class = "button", href = all, "Change nothing" }) } },
  } }, spec.status)
end

local function page(c, conf, form, spec)
  return (spec.one and one_page or all_page)(c, conf, form, spec)
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

local function show_one(engine, conf)
  return function(c, one)
    local rows = rows_now(engine, conf)
    local of
    for _, row in ipairs(rows) do
      of = of or row.name == c.query.of and not row.fixed and not row.parent and row or nil
    end
    return page(c, conf, listener_form.fresh(rows, 1, of), { seen = seal(rows, one), one = one })
  end
end

-- lines: what no field is the place for. one: the row that the page is about.
local function nothing_changed(lines, form, one)
  local row = one and find(form, one)
  if row then
    row.faults_at = form.faults_at[row.name]
  end
  return layout.note("bad", h.h2 "Nothing has been changed", #lines > 0 and change.said(table_concat(lines, "\n"))
    or h.p "What is wrong stands below, where it belongs.", row and listener_page.wrong(row) or nil)
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
    local one = c.form.one ~= "" and c.form.one or nil
    local seen = seal(rows, one)
    local form = listener_form.read(rows, c.form)
    local function again(code, note)
      return page(c, conf, form, { seen = seen, note = note, status = code, one = one })
    end
    if c.form.seen ~= seen then
      return again(409, layout.note("bad", h.h2 "Nothing has been changed", h.p { "The listeners were changed since this page was opened. ",
        "Look at what they are now and at what you typed, then press Update again." }))
    elseif form.bad then
      return again(422, nothing_changed({}, form, one))
    elseif #form.edits == 0 then
      return again(200, layout.note("good", h.p "Nothing to change: this is what is in force."))
    end
    local stored, why = store.new(c.accounts.db):all()
    if not stored then
      return c.unavailable(why)
    end
    local words = html.map(form.edits, listener_form.words)
    return change.run(c, engine, { title = "Listeners", action = c.site.prefix .. "/listeners", back = c.site.prefix .. "/listeners",
      what = "listeners", edits = form.edits, words = words, dangers = lockout.dangers(form, c.req), done = "listeners",
      opens = listener_form.opens(form), applied = farewell(c, engine), lost = urlcheck.lost(stored, conf, status, lockout.after(form)),
      refused = function(text) return again(422, nothing_changed(listener_form.place_faults(form, text), form, one)) end })
  end
end

return { show = show, show_one = show_one, update = update, MOST = MOST }
