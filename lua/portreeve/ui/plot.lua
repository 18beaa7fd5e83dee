--- Bars over time as inline SVG, people and machines stacked, with a table that says the same. No script and no inline style: positions
-- are percentages across and pixels down, so the text stays readable at every width.
local html = require "portreeve.web.html"
local layout = require "portreeve.web.layout"
local ipairs, math_max, os_date = ipairs, math.max, os.date
local h = html.tag
local _ENV = nil

local HEIGHT, TOP, BOTTOM = 190, 14, 24 -- px: all, above the plot, below it
local ROWS_MAX = 100

-- A round number at or above n that divides by four: 1-2-5 steps.
local function ceiling(n)
  local unit = 1
  while true do
    for _, m in ipairs { 4, 8, 20 } do
      if unit * m >= n then
        return unit * m
      end
    end
    unit = unit * 10
  end
end

local function bucket_label(by, hour)
  return os_date(by == "hour" and "!%d %b %H:00" or "!%d %b", hour * 3600)
end

local function percent(x)
  return ("%.3f%%"):format(x)
end

local function grid(span)
  local lines = {}
  for i = 0, 4 do
    local y = TOP + span - span * i / 4
    lines[#lines + 1] = h.line { class = i == 0 and "base" or "grid", x1 = 0, x2 = "100%", y1 = y, y2 = y }
  end
  return lines
end

local function axis(top, span)
  local labels = {}
  for i = 0, 4, 2 do
    labels[#labels + 1] = h.text { x = "100%", dx = -6, y = TOP + span - span * i / 4 + 4, ["text-anchor"] = "end",
      layout.number(top * i // 4) }
  end
  return h.svg { class = "axis", width = 48, height = HEIGHT, ["aria-hidden"] = "true", labels }
end

local function bars(series, n, top, span, show)
  local out, slot = {}, 100 / n
  local gap = slot * (n > 40 and 0.16 or 0.24)
  for i, v in ipairs(series) do
    local human = show ~= "machine" and v.human or 0
    local machine = show ~= "human" and v.machine or 0
    local hh, mh = human / top * span, machine / top * span
    local x, w = percent((i - 1) * slot + gap / 2), percent(slot - gap)
    if human > 0 then
      out[#out + 1] = h.rect { class = "human", x = x, width = w, y = ("%.2f"):format(TOP + span - hh), height = ("%.2f"):format(hh) }
    end
    if machine > 0 then
      out[#out + 1] = h.rect { class = "machine", x = x, width = w, y = ("%.2f"):format(TOP + span - hh - mh),
        height = ("%.2f"):format(mh) }
    end
  end
  return out
end

local function ticks(data)
  local out = {}
  local places = data.n == 1 and { 1 } or data.n < 4 and { 1, data.n } or { 1, 1 + (data.n - 1) // 2, data.n }
  for k, i in ipairs(places) do
    local anchor = #places == 1 and "middle" or k == 1 and "start" or k == #places and "end" or "middle"
    local x = anchor == "start" and 0 or anchor == "end" and 100 or (i - 0.5) * 100 / data.n
    out[#out + 1] = h.text { x = percent(x), y = HEIGHT - 6, ["text-anchor"] = anchor, bucket_label(data.by,
      data.first + (i - 1) * data.step) }
  end
  return out
end

local function value_table(data, series, title)
  local rows = {}
  for i, v in ipairs(series) do
    if (v.human > 0 or v.machine > 0) and #rows < ROWS_MAX then
      rows[#rows + 1] = { bucket_label(data.by, data.first + (i - 1) * data.step), layout.number(v.human), layout.number(v.machine) }
    end
  end
  return h.details { h.summary "The same as a table",
    layout.data_table { caption = title .. " by " .. data.by, class = "plain", rows = rows,
      columns = { { label = data.by == "hour" and "Hour" or "Day" }, { label = "People", class = "num" }, { label = "Machines",
        class = "num" } } } }
end

local function describe(data, series, title)
  local best, at, people, machines = -1, 1, 0, 0
  for i, v in ipairs(series) do
    people, machines = people + v.human, machines + v.machine
    if v.human + v.machine > best then
      best, at = v.human + v.machine, i
    end
  end
  return ("%s by %s from %s to %s: %s by people, %s by machines; most in %s."):format(title, data.by, bucket_label(data.by, data.first),
    bucket_label(data.by, data.first + (data.n - 1) * data.step), layout.number(people), layout.number(machines),
    bucket_label(data.by, data.first + (at - 1) * data.step))
end

-- spec {id=, title=, data = reports.over_time, series = "open"|"click", show = "both"|"human"|"machine"}
local function plot(spec)
  local data, series = spec.data, spec.data[spec.series]
  local most = 0
  for _, v in ipairs(series) do
    most = math_max(most, (spec.show ~= "machine" and v.human or 0) + (spec.show ~= "human" and v.machine or 0))
  end
  local top, span = ceiling(most), HEIGHT - TOP - BOTTOM
  local text = describe(data, series, spec.title)
  return h.figure { class = "plot",
    h.figcaption { id = spec.id .. "-caption", h.h3 { spec.title, " by ", data.by },
      h.ul { class = "legend", ["aria-hidden"] = "true",
        spec.show ~= "machine" and h.li { class = "human", "People" }, spec.show ~= "human" and h.li { class = "machine", "Machines" } } },
    h.div { class = "frame", axis(top, span),
      h.svg { class = "bars", role = "img", ["aria-labelledby"] = spec.id .. "-text", width = "100%", height = HEIGHT,
        h.title { id = spec.id .. "-text", text }, grid(span), bars(series, data.n, top, span, spec.show), ticks(data) } },
    value_table(data, series, spec.title) }
end

return { plot = plot, ceiling = ceiling }
