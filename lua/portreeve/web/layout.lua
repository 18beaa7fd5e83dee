--- The frame of every page: head, bar with navigation, content, foot. And the small parts pages share.
local html = require "portreeve.web.html"
local static = require "portreeve.web.static"
local ipairs, os_date, tostring, type = ipairs, os.date, tostring, type
local h = html.tag
local _ENV = nil

local function csrf_field(c)
  return h.input { type = "hidden", name = "csrf", value = c.csrf or "" }
end

-- A button that posts: the only way a page changes anything.
local function post_button(c, action, label, fields, class)
  local inputs = {}
  for _, f in ipairs(fields or {}) do
    inputs[#inputs + 1] = h.input { type = "hidden", name = f[1], value = tostring(f[2]) }
  end
  return h.form { method = "post", action = action, class = "inline", csrf_field(c), inputs,
    h.button { type = "submit", class = class, label } }
end

local function bar(c)
  local links = html.map(c.site.nav, function(item)
    return h.li { h.a { href = item.href, ["aria-current"] = item.here(c) and "page" or nil, item.label } }
  end)
  return h.header { class = "bar",
    h.div { class = "wrap",
      h.a { class = "brand", href = c.site.prefix .. "/", h.img { src = c.asset "mark.svg", alt = "", width = 26, height = 26 },
        "Portreeve" },
      c.account and h.nav { ["aria-label"] = "Main", h.ul { links } },
      c.account and h.div { class = "who", h.span { class = "account", title = "Logged in as", c.account },
        post_button(c, c.site.prefix .. "/logout", "Log out", nil, "quiet") },
    },
  }
end

local function note(kind, ...)
  return h.div { class = "note " .. kind, role = kind == "bad" and "alert" or "status", ... }
end

-- A whole page. spec {title=, body=, notes=, narrow=, refresh=}
local function page(c, spec)
  return "<!DOCTYPE html>\n" .. html.render(h.html { lang = "en",
    h.head {
      h.meta { charset = "utf-8" },
      h.meta { name = "viewport", content = "width=device-width, initial-scale=1" },
      h.meta { name = "color-scheme", content = "light dark" },
      h.meta { name = "robots", content = "noindex, nofollow" },
      h.title { spec.title, " – Portreeve ", c.site.title },
      h.link { rel = "icon", type = "image/svg+xml", href = c.asset "mark.svg" },
      h.link { rel = "stylesheet", href = c.asset "portreeve.css" },
    },
    h.body {
      h.a { class = "skip", href = "#content", "Skip to content" },
      bar(c),
      h.main { id = "content", class = spec.narrow and "wrap narrow" or "wrap", c.note, spec.body },
      h.footer { class = "foot", h.div { class = "wrap", h.p { "Portreeve ", c.site.title:lower(), c.version and (" · version "
        .. c.version),
        " · all times UTC" } } },
    },
  })
end

-- Table with scope on every header cell. columns: { {label=, class=} … }; rows: lists of cells; the first cell heads its row.
-- class "stack": on narrow screens each row becomes a block, with the column's name before each cell; "plain": stays a table there,
-- without the columns of class "wide".
local function data_table(spec)
  if #spec.rows == 0 then
    return h.p { class = "empty", spec.empty or "Nothing yet." }
  end
  local stack = spec.class ~= "plain"
  local head = html.map(spec.columns, function(col) return h.th { scope = "col", class = col.class, col.label } end)
  local body = html.map(spec.rows, function(row)
    local cells = {}
    for i, col in ipairs(spec.columns) do
      local make = i == 1 and h.th or h.td
      cells[i] = make { scope = i == 1 and "row" or nil, class = col.class, ["data-label"] = stack and col.label or nil,
        stack and h.div { row[i] } or row[i] }
    end
    return h.tr(cells)
  end)
  return h.div { class = "scroll", tabindex = "0", role = "region", ["aria-label"] = spec.caption,
    h.table { class = stack and "stack" or "plain", h.caption { class = "unseen", spec.caption }, h.thead { h.tr(head) }, h.tbody(body) } }
end

local function stamp(ms)
  if type(ms) ~= "number" then
    return "never"
  end
  local seconds = ms // 1000 | 0
  return h.time { datetime = os_date("!%Y-%m-%dT%H:%M:%SZ", seconds), os_date("!%d %b %Y %H:%M:%S", seconds) }
end

-- Without seconds, and free to wrap: for columns.
local function moment(ms)
  local seconds = ms // 1000 | 0
  return h.time { class = "moment", datetime = os_date("!%Y-%m-%dT%H:%M:%SZ", seconds), os_date("!%d\u{a0}%b\u{a0}%Y ", seconds),
    os_date("!%H:%M", seconds) }
end

local function ago(ms, now)
  if type(ms) ~= "number" then
    return "never"
  end
  local s = (now - ms) // 1000 | 0
  if s < 5 then
    return "just now"
  elseif s < 120 then
    return s .. " seconds ago"
  elseif s < 7200 then
    return s // 60 .. " minutes ago"
  elseif s < 172800 then
    return s // 3600 .. " hours ago"
  end
  return s // 86400 .. " days ago"
end

-- 1234567 -> "1,234,567"
local function number(n)
  local text = ("%d"):format(n)
  local sign, digits = text:match("^(-?)(%d+)$")
  digits = digits:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "")
  return sign .. digits
end

local function bytes(n)
  if n < 1024 then
    return ("%d bytes"):format(n)
  elseif n < 1048576 then
    return ("%.1f KiB"):format(n / 1024)
  elseif n < 1073741824 then
    return ("%.1f MiB"):format(n / 1048576)
  end
  return ("%.1f GiB"):format(n / 1073741824)
end

local function badge(kind, text)
  return h.span { class = "badge " .. kind, text }
end

return {
  page = page, note = note, data_table = data_table, csrf_field = csrf_field, post_button = post_button,
  stamp = stamp, moment = moment, ago = ago, number = number, bytes = bytes, badge = badge, asset = static.address,
}
