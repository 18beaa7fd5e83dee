--- The ui's pages: campaigns, one campaign, alarms.
local html = require "portreeve.web.html"
local form = require "portreeve.web.form"
local layout = require "portreeve.web.layout"
local plots = require "portreeve.ui.plot"
local sys = require "portreeve.sys"
local ipairs, math_max, tointeger, tonumber = ipairs, math.max, math.tointeger, tonumber
local h, number = html.tag, layout.number
local _ENV = nil

local PAGE = 50
local OFFSET_MAX = 1000000

local function page_number(c)
  local n = tointeger(tonumber(c.query.page))
  return n and n >= 1 and n * PAGE <= OFFSET_MAX and n or 1
end

local function pager(n, more, make)
  if n == 1 and not more then
    return nil
  end
  return h.nav { class = "pager", ["aria-label"] = "Pages",
    n > 1 and h.a { href = make(n - 1), rel = "prev", "← Newer" }, h.span { "Page ", n },
    more and h.a { href = make(n + 1), rel = "next", "Older →" } }
end

local function uniq(s)
  return s.total > 0 and s.unknown == s.total and "–" or number(s.uniq)
end

-- "events up to …": how far this report can be trusted to be whole.
local function upto(c, sources)
  local oldest, bad
  for _, s in ipairs(sources) do
    if s.upto_ms and (not oldest or s.upto_ms < oldest) then
      oldest = s.upto_ms
    end
    bad = bad or (s.fault and s.fault ~= "" and s)
  end
  return h.div { class = "upto",
    h.p { oldest and { "Events up to ", layout.stamp(oldest), "." } or "No events have been fetched from a tracker yet." },
    bad and h.p { class = "warn", "The last fetch from ", bad.tracker or bad.place, " failed ", layout.ago(bad.fault_ms, c.now), ": ",
      bad.fault } }
end

local explain = {
  gap = function(a)
    return { "Tracker ", h.b { a.tracker }, ", epoch ", a.epoch, ": event ", a.expected, " was expected next, but ", a.found,
      " came. ", number(a.found - a.expected), " event(s) are missing, so fetching from this tracker has stopped. "
      .. "If they cannot be brought back (a database restored from a copy, a spool taken away), accept the gap to go on without them." }
  end,
  rewind = function(a)
    return { "Tracker ", h.b { a.tracker }, ": its spool ends at position ", a.found, ", but position ", a.expected - 1,
      " was already read. The spool has been replaced, so fetching has stopped. Accept to read the new spool from its beginning." }
  end,
  lost = function(a)
    return { "Tracker ", h.b { a.tracker }, ", epoch ", a.epoch, ": events before number ", a.found,
      " had been acknowledged to a database that no longer exists. Reports begin with event ", a.found, "." }
  end,
}

local function alarm_box(c, a)
  local fields = {}
  for i, k in ipairs { "tracker", "kind", "epoch", "expected", "found" } do
    fields[i] = { k, a[k] }
  end
  return h.div { class = "note bad", role = "alert", h.h2 "Alarm",
    h.p { explain[a.kind] and explain[a.kind](a) or a.kind, " Since ", layout.stamp(a.at_ms), "." },
    layout.post_button(c, c.site.prefix .. "/alarms/accept", a.kind == "lost" and "Understood" or "Accept and go on", fields) }
end

local function top_notes(c, reports)
  local sources, why = reports:sources()
  local alarms, fault = reports:alarms()
  if not sources or not alarms then
    return nil, why or fault
  end
  return { html.map(alarms, function(a) return alarm_box(c, a) end), upto = upto(c, sources) }
end

local function campaign_rows(c, list)
  return html.map(list, function(k)
    local s = k.sums
    return {
      { h.a { href = c.site.prefix .. "/campaign/" .. k.id, "Campaign ", k.id } },
      number(s.open[0].total), uniq(s.open[0]), number(s.click[0].total), uniq(s.click[0]), number(s.open[1].total + s.click[1].total),
      number(s.unsubscribe[0].total + s.unsubscribe[1].total), layout.moment(k.last_ms),
    }
  end)
end

local campaign_columns = {
  { label = "Campaign" }, { label = "Opens", class = "num" }, { label = "Unique opens", class = "num wide" },
  { label = "Clicks", class = "num" }, { label = "Unique clicks", class = "num wide" }, { label = "By machines", class = "num wide" },
  { label = "Unsubscribes", class = "num wide" }, { label = "Last event", class = "date" },
}

local function campaigns(reports)
  return function(c)
    local n = page_number(c)
    local list, why = reports:campaigns(PAGE, (n - 1) * PAGE)
    local notes, fault = top_notes(c, reports)
    if not list or not notes then
      return c.unavailable(why or fault)
    end
    return c.page { title = "Campaigns", body = {
      h.div { class = "headline", h.h1 "Campaigns", notes.upto }, notes,
      h.section { class = "card", ["aria-label"] = "List of campaigns",
        layout.data_table { caption = "Campaigns with opens and clicks by people", class = "plain", rows = campaign_rows(c, list),
          columns = campaign_columns, empty = "No events yet. A campaign appears here with its first open or click." },
        pager(n, list.more, function(i) return c.site.prefix .. "/?page=" .. i end) },
    } }
  end
end

local function total_of(pair)
  return { total = pair[0].total + pair[1].total, uniq = math_max(pair[0].uniq, pair[1].uniq), unknown = pair[0].unknown + pair[1].unknown }
end

local function figure(label, ...)
  local parts = html.map({ ... }, function(p)
    return h.div { class = p[1], h.dt { p[2] }, h.dd { h.b { number(p[3].total) }, h.span { p[4] or { uniq(p[3]), " unique" } } } }
  end)
  return h.div { class = "figure", h.h2 { label }, h.dl(parts) }
end

local function figures(sums)
  return h.section { class = "figures", ["aria-label"] = "Totals",
    figure("Opens", { "human", "People", sums.open[0] }, { "machine", "Machines", sums.open[1] }),
    figure("Clicks", { "human", "People", sums.click[0] }, { "machine", "Machines", sums.click[1] }),
    figure("Unsubscribes", { "out", "Asked for", total_of(sums.unsubscribe) }, { "back", "Taken back", total_of(sums.resubscribe) }) }
end

local function toggle(c, id, what, now, choices)
  return h.div { class = "toggle", role = "group", ["aria-label"] = what.label, html.map(choices, function(choice)
    local values = { by = c.query.by, show = c.query.show }
    values[what.name] = choice[1]
    return h.a { href = c.site.prefix .. "/campaign/" .. id .. form.query(values) .. "#time",
      ["aria-current"] = choice[1] == now and "true" or nil, choice[2] }
  end) }
end

local show_choices = { { "both", "Both" }, { "human", "People" }, { "machine", "Machines" } }
local step_choices = { { "hour", "Hours" }, { "day", "Days" } }

local function time_section(c, k, data, show)
  return h.section { class = "card", id = "time",
    h.div { class = "headline", h.h2 "Over time",
      h.div { class = "toggles", toggle(c, k.id, { name = "show", label = "Whose" }, show, show_choices),
        toggle(c, k.id, { name = "by", label = "Step" }, data.by, step_choices) } },
    data.cut and h.p { class = "hint", "The last ", data.n, data.by == "hour" and " hours." or " days.",
      " Earlier ones are left out of the plots, not of the totals." },
    h.div { class = "plots", plots.plot { id = "opens", title = "Opens", data = data, series = "open", show = show },
      plots.plot { id = "clicks", title = "Clicks", data = data, series = "click", show = show } } }
end

local function unique_of(whom)
  return { "Unique", h.span { class = "unseen", " ", whom } }
end

local function link_section(links)
  local rows = html.map(links, function(l)
    return { { "Link ", l.link }, number(l.human), number(l.human_uniq), number(l.machine), number(l.machine_uniq) }
  end)
  return h.section { class = "card", id = "links", h.h2 "Clicks by link",
    layout.data_table { caption = "Clicks by link", class = "plain", empty = "No clicks yet.", rows = rows,
      columns = { { label = "Link" }, { label = "People", class = "num" }, { label = unique_of "people", class = "num" },
        { label = "Machines", class = "num" }, { label = unique_of "machines", class = "num" } } } }
end

local class_names = { "human", "unknown", "proxy", "prefetch", "scanner", "bot" }

local function class_section(classes)
  local totals, rows = {}, {}
  for _, r in ipairs(classes) do
    totals[r.class] = totals[r.class] or { open = 0, click = 0, unsubscribe = 0 }
    totals[r.class][r.type] = r.total
  end
  for _, name in ipairs(class_names) do
    local t = totals[name]
    rows[#rows + 1] = t and { name:sub(1, 1):upper() .. name:sub(2), number(t.open), number(t.click), number(t.unsubscribe) } or nil
  end
  return h.section { class = "card", id = "readers", h.h2 "By class of reader",
    layout.data_table { caption = "Events by class of reader", class = "plain", rows = rows,
      columns = { { label = "Class" }, { label = "Opens", class = "num" }, { label = "Clicks", class = "num" },
        { label = "Unsubscribes", class = "num" } } },
    h.p { class = "hint", "Human and unknown readers are counted as people. A proxy fetches pictures whether or not anybody looks, "
      .. "so it is counted as a machine." } }
end

local function recipient_section(c, k, list, n)
  local rows = html.map(list, function(r)
    local gone = r.unsubscribed_ms > 0 and r.unsubscribed_ms >= r.resubscribed_ms
    return { { r.who:sub(2), gone and layout.badge("warn", "Unsubscribed") }, number(r.opens), number(r.clicks),
      number(r.machine), layout.moment(r.last_ms) }
  end)
  local function address_of(i)
    return c.site.prefix .. "/campaign/" .. k.id .. form.query { page = i, by = c.query.by, show = c.query.show } .. "#recipients"
  end
  return h.section { class = "card", id = "recipients", h.h2 "Recipients",
    layout.data_table { caption = "Recipients with events", class = "plain", rows = rows,
      empty = "None. Recipients are listed only where the tracking level of the mail allows it (personal or network).",
      columns = { { label = "Recipient" }, { label = "Opens", class = "num" }, { label = "Clicks", class = "num" },
        { label = "By machines", class = "num wide" }, { label = "Last event", class = "date" } } },
    pager(n, list.more, address_of) }
end

-- Few hours of events are worth hours; more are worth days.
local function step_of(c, k)
  if c.query.by == "hour" or c.query.by == "day" then
    return c.query.by
  end
  return k.last_ms - k.first_ms > 4 * 86400000 and "day" or "hour"
end

local function campaign(reports)
  return function(c, id)
    local k, why = reports:campaign(id)
    if k == nil then
      return c.unavailable(why)
    elseif not k then
      return c.problem(404, "No such campaign", "No event of campaign " .. id .. " has arrived yet.")
    end
    local n = page_number(c)
    local notes, data, links = top_notes(c, reports), reports:over_time(k, step_of(c, k)), reports:links(id, 200)
    local classes, people = reports:classes(id), reports:recipients(id, PAGE, (n - 1) * PAGE)
    if not (notes and data and links and classes and people) then
      return c.unavailable("a report of campaign " .. id .. " could not be read")
    end
    local show = (c.query.show == "human" or c.query.show == "machine") and c.query.show or "both"
    return c.page { title = "Campaign " .. id, body = {
      h.div { class = "headline",
        h.div { h.p { class = "crumb", h.a { href = c.site.prefix .. "/", "Campaigns" } }, h.h1 { "Campaign ", id } }, notes.upto },
      notes, figures(k.sums), time_section(c, k, data, show),
      h.div { class = "columns", link_section(links), class_section(classes) },
      recipient_section(c, k, people, n),
    } }
  end
end

local function accept(store)
  return function(c)
    local a = { tracker = c.form.tracker, kind = c.form.kind }
    for _, k in ipairs { "epoch", "expected", "found" } do
      a[k] = tointeger(tonumber(c.form[k]))
    end
    if not (a.tracker and a.kind and a.epoch and a.expected and a.found) then
      return c.problem(400, "Not understood", "The form is incomplete.")
    end
    local done, why = store:accept(a, c.account, c.now)
    if not done then
      return c.unavailable(why)
    end
    c.accounts:audit(c.account, c.req.address, "accept alarm",
      ("%s %s epoch %d expected %d found %d"):format(a.tracker, a.kind, a.epoch, a.expected, a.found))
    sys.log("notice", "ui", ("alarm accepted by %s: %s of tracker %s"):format(c.account, a.kind, a.tracker))
    return c.redirect(c.site.prefix .. "/?done=accepted")
  end
end

return { campaigns = campaigns, campaign = campaign, accept = accept }
