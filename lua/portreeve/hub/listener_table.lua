--- The table of listeners as a form: one row a listener, below it its sockets with the rule behind each, at the end the empty rows. It has
-- what is changed most; the page of a listener has every entry.
local html = require "portreeve.web.html"
local layout = require "portreeve.web.layout"
local fields = require "portreeve.hub.listener_fields"
local listening = require "portreeve.hub.listening"
local sockets = require "portreeve.hub.sockets"
local ipairs, table_concat, tostring = ipairs, table.concat, tostring
local h, number = html.tag, layout.number
local spec = listening.spec
local _ENV = nil

local SHOWN = 40 -- sockets of one listener; a wildcard has two, a list may have thousands
local SAID = 4 -- entries in the last column; the listener's page has all
local COLUMNS = { "Listener", "Port", "Address", "Init SSL/TLS", "Carries", "Admits", "Everything else" }
local own_column = { Port = true, Address = true, InitTLS = true, Certificate = true, Services = true, Restriction = true, List = true }

-- What a row can carry with no entry beside it: the others are made on the page of the listener.
local alone = {}
for _, word in ipairs(spec.Services.words) do
  local needs_more = word == "tunnel" or word == "tls-tunnel" or word == "script"
  alone[#alone + 1] = not needs_more and word or nil
end

-- What the sockets themselves say, for listeners that other files make.
local function from_sockets(row, make)
  local seen, out = {}, {}
  for _, s in ipairs(row.sockets) do
    local text = make(s)
    if not seen[text] then
      seen[text] = true
      out[#out + 1] = text
    end
  end
  return #out == 0 and "–" or #out <= 4 and table_concat(out, ", ") or table_concat(out, ", ", 1, 3) .. (" and %d more"):format(#out - 3)
end

local function services_cell(row)
  if row.fixed then
    return from_sockets(row, function(s) return (tostring(s.services or ""):gsub(",", ", ")) end)
  end
  for word in row.say.Services:gmatch("[^,]+") do
    if not ("," .. table_concat(alone, ",") .. ","):find("," .. word .. ",", 1, true) then
      local to = row.sockets[1] and row.sockets[1].backend or ""
      return { h.span { class = "said-value", row.say.Services },
        to ~= "" and h.span { class = "hint block", "to ", h.code { to } } or nil }
    end
  end
  return fields.cell(row, "Services", true, { words = alone })
end

local function port_cell(row)
  if row.fixed then
    return from_sockets(row, function(s) return tostring(sockets.whole(s.port) or "–") end)
  end
  return fields.cell(row, "Port", true)
end

local function address_cell(row)
  if row.fixed then
    return h.code { from_sockets(row, function(s) return s.address end) }
  end
  return fields.cell(row, "Address", true)
end

local function tls_cell(row, certificates)
  if row.fixed then
    return from_sockets(row, function(s) return s.external_tls and "Ext" or s.scheme == "https" and "On" or "Off" end)
  elseif row.say.Transport == "UDP" then -- TLS is not offered (G16)
    return "UDP"
  end
  return { fields.cell(row, "InitTLS", true),
    #certificates > 1 and fields.cell(row, "Certificate", false, { words = certificates }) or nil }
end

local function admits_cell(row)
  if row.fixed and not row.limits then
    return row.sockets[1] and sockets.restriction(row.sockets[1]) or "–"
  end
  local built_in = row.say.Restriction == "None" and row.sockets[1] and row.sockets[1].restriction ~= "none"
  return { fields.cell(row, "Restriction", true), h.div { class = "for-list", fields.cell(row, "List") },
    built_in and h.span { class = "hint block", "now: ", sockets.restriction(row.sockets[1]) } }
end

-- What the line says beside the columns, and the way to its page.
local function more_cell(c, row)
  local out, n = {}, 0
  for _, entry in ipairs(row.fields) do
    if row.given[entry] and not own_column[entry] then
      n = n + 1
      out[n] = n <= SAID and h.li { h.code { entry, "=", row.say[entry] } } or nil
    end
  end
  if row.fixed and not row.limits then
    return "–"
  end
  return { n > 0 and h.ul { class = "said-list", out } or nil,
    n > SAID and h.span { class = "hint block", "and ", n - SAID, " more" } or nil,
    h.a { href = ("%s/listeners/%s"):format(c.site.prefix, row.name), row.new and "With everything" or "All settings",
      h.span { class = "unseen", row.new and " that a listener can have" or " of " .. row.name } } }
end

local function head_cell(c, row)
  if row.new then
    local id = row.name .. ".Name"
    return { h.span { class = "hint", "A new listener" }, h.div { class = "cell-field", h.label { ["for"] = id, "Name" },
      h.input { id = id, name = id, type = "text", value = row.say.Name, maxlength = 60, autocomplete = "off", autocapitalize = "none",
        spellcheck = "false", placeholder = "may stay empty" } },
      h.span { class = "hint block", "one that is there gets a further socket" } }
  end
  return { h.b { row.name }, h.span { class = "hint block", row.fixed and { "from ", row.from } or row.from },
    row.locked and not row.parent and h.span { class = "hint block", listening.TUNNEL:format(row.name) } or nil,
    row.page and h.span { class = "hint block", h.a { href = c.site.prefix .. row.page, "change its port" } } }
end

local function row_cells(c, row, certificates)
  local cells = { head_cell(c, row), port_cell(row), address_cell(row), tls_cell(row, certificates), services_cell(row), admits_cell(row),
    more_cell(c, row) }
  return html.map(COLUMNS, function(label, i)
    local make = i == 1 and h.th or h.td
    return make { scope = i == 1 and "row" or nil, class = "c" .. i, ["data-label"] = label, h.div { cells[i] } }
  end)
end

local function socket_line(s)
  return h.li { h.span { class = "bound", sockets.state(s) }, h.span { class = "why", "because of ", sockets.because(s.because) } }
end

-- The sockets of a row, with the rule behind each.
local function sockets_list(row)
  local n = #row.sockets
  local lines = {}
  for i = 1, n < SHOWN and n or SHOWN do
    lines[i] = socket_line(row.sockets[i])
  end
  local active = row.active == 1 and "1 connection" or number(row.active) .. " connections"
  return h.div { h.p { class = "hint", n == 1 and "1 socket" or number(n) .. " sockets", ", ", active, " open" },
    n > 0 and h.ul { class = "bound-list", lines } or nil,
    n > SHOWN and h.p { class = "hint", "and ", number(n - SHOWN), " more; ", h.code "portreeve plan", " shows all" } }
end

local function sockets_row(row)
  return h.tr { class = "sub", h.td { colspan = #COLUMNS, ["data-label"] = "Sockets", sockets_list(row) } }
end

local function fault_row(faults)
  return h.tr { class = "fault", h.td { colspan = #COLUMNS, ["data-label"] = "", h.div { role = "alert",
    html.map(faults, function(text) return h.p { text } end) } } }
end

local function group(c, row, form, certificates)
  local faults = form.faults[row.name]
  row.faults_at = form.faults_at[row.name]
  return h.tbody { class = faults and "bad" or row.new and "new" or nil, id = row.new and "new-" .. row.new or "listener-" .. row.name,
    faults and fault_row(faults), h.tr { row_cells(c, row, certificates) }, not row.new and sockets_row(row) or nil }
end

-- form: what listener_form gave.
local function table_of(c, form, certificates)
  local groups = {}
  for _, list in ipairs { form.rows, form.added } do
    for _, row in ipairs(list) do
      groups[#groups + 1] = group(c, row, form, certificates)
    end
  end
  return h.div { class = "scroll", tabindex = "0", role = "region", ["aria-label"] = "Listeners",
    h.table { class = "stack listeners", h.caption { class = "unseen", "Listeners, their sockets, and the rule behind each" },
      h.thead { h.tr(html.map(COLUMNS, function(label, i) return h.th { scope = "col", class = "c" .. i, label } end)) }, groups } }
end

return { table_of = table_of, sockets_list = sockets_list }
