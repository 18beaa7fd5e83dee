--- The table of listeners as a form: one row a listener, below it its sockets with the rule behind each, at the end the empty rows.
local html = require "portreeve.web.html"
local layout = require "portreeve.web.layout"
local listening = require "portreeve.hub.listening"
local sockets = require "portreeve.hub.sockets"
local ipairs, pairs, table_concat, tostring = ipairs, pairs, table.concat, tostring
local h, number = html.tag, layout.number
local spec = listening.spec
local _ENV = nil

local SHOWN = 40 -- sockets of one listener; a wildcard has two, a list may have thousands
local COLUMNS = { "Listener", "Port", "Address", "Init SSL/TLS", "Carries", "Admits", "Limits and more" }

local label_of = {
  Port = "Port", Address = "Local address", WhenMissing = "When it is missing", InitTLS = "Init SSL/TLS", Certificate = "Certificate",
  Restriction = "Restriction", List = "Address list", MaxConnections = "Connections, at most", MaxPerAddress = "From one address, at most",
  Reserve = "Kept for clients", Backlog = "Waiting, at most",
}

-- label hidden: the column's head says it already.
local function field(prefix, entry, input, hidden)
  return h.div { class = "cell-field", h.label { ["for"] = prefix .. "." .. entry, class = hidden and "unseen" or nil, label_of[entry] },
    input }
end

-- Does a message of this row speak of the entry?
local function faulty(row, entry)
  for _, text in ipairs(row.faults or {}) do
    if text:find("^" .. entry .. "[: ]") or text:find("%." .. entry .. "%f[^%w]") then
      return true
    end
  end
  return false
end

-- Given on the command line: an edit of the file would do nothing.
local function forced(row, entry)
  return h.div { class = "cell-field", h.span { class = "said-value", row.say[entry] },
    h.span { class = "hint block", "given on the command line" } }
end

local function text_field(row, prefix, entry, over, hidden)
  if row.forced[entry] then
    return forced(row, entry)
  end
  local id = prefix .. "." .. entry
  local attributes = { id = id, name = id, type = "text", value = row.say[entry], autocomplete = "off", autocapitalize = "none",
    spellcheck = "false", maxlength = 4000, ["aria-invalid"] = faulty(row, entry) and "true" or nil }
  for k, v in pairs(over or {}) do
    attributes[k] = v
  end
  return field(prefix, entry, h.input(attributes), hidden)
end

local function choice(row, prefix, entry, words, hidden)
  if row.forced[entry] then
    return forced(row, entry)
  end
  local id, options, known = prefix .. "." .. entry, {}, false
  for i, word in ipairs(words) do
    known = known or word == row.say[entry]
    options[i] = h.option { value = word, selected = word == row.say[entry], word }
  end
  if not known then
    options[#options + 1] = h.option { value = row.say[entry], selected = true, row.say[entry] }
  end
  return field(prefix, entry, h.select { id = id, name = id, options }, hidden)
end

local tunnels = { tunnel = true, ["tls-tunnel"] = true }

-- Where a tunnel leads is not for pages to change: whoever held the hub could reach every server that this one can.
local function tunnel_cell(row)
  local to = row.sockets[1] and row.sockets[1].backend or ""
  return { h.span { class = "said-value", row.say.Services }, to ~= "" and h.span { class = "hint block", "to ", h.code { to } } or nil,
    h.span { class = "hint block", "changed in listeners.ini" } }
end

local function services_cell(row, prefix)
  if not row.new and tunnels[row.say.Services] then
    return tunnel_cell(row)
  end
  if row.forced.Services then
    return forced(row, "Services")
  end
  local name = prefix .. ".Services"
  return h.fieldset { class = "ticks", h.legend { class = "unseen", "Carries" }, h.input { type = "hidden", name = name, value = "1" },
    html.map(spec.Services.words, function(word)
      if tunnels[word] then
        return nil
      end
      local id = name .. "." .. word
      return h.label { ["for"] = id, h.input { type = "checkbox", id = id, name = id, value = "on",
        checked = ("," .. row.say.Services .. ","):find("," .. word .. ",", 1, true) ~= nil }, " ", word }
    end) }
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

local function port_cell(row, prefix)
  if row.fixed then
    return from_sockets(row, function(s) return tostring(sockets.whole(s.port) or "–") end)
  end
  return text_field(row, prefix, "Port", { maxlength = 8, inputmode = "numeric", class = "port" }, true)
end

local function address_cell(row, prefix)
  if row.fixed then
    return h.code { from_sockets(row, function(s) return s.address end) }
  end
  return text_field(row, prefix, "Address", nil, true)
end

local function tls_cell(row, prefix, certificates)
  if row.fixed then
    return from_sockets(row, function(s) return s.external_tls and "Ext" or s.scheme == "https" and "On" or "Off" end)
  end
  if row.say.Transport == "UDP" then -- TLS is not offered (G16)
    return { "UDP", h.input { type = "hidden", name = prefix .. ".InitTLS", value = row.say.InitTLS },
      h.input { type = "hidden", name = prefix .. ".Certificate", value = row.say.Certificate } }
  end
  return { choice(row, prefix, "InitTLS", spec.InitTLS.words, true),
    #certificates > 1 and choice(row, prefix, "Certificate", certificates)
      or h.input { type = "hidden", name = prefix .. ".Certificate", value = row.say.Certificate } }
end

local function admits_cell(row, prefix)
  if row.fixed and not row.limits then
    return row.sockets[1] and sockets.restriction(row.sockets[1]) or "–"
  end
  local built_in = row.say.Restriction == "None" and row.sockets[1] and row.sockets[1].restriction ~= "none"
  return { choice(row, prefix, "Restriction", spec.Restriction.words, true),
    h.div { class = "for-list", text_field(row, prefix, "List", { maxlength = 60, placeholder = "name of the list" }) },
    built_in and h.span { class = "hint block", "now: ", sockets.restriction(row.sockets[1]) } }
end

local function limits_said(row)
  local out = {}
  for _, l in ipairs { { "MaxConnections", "at most " }, { "MaxPerAddress", "per address " }, { "Reserve", "kept " } } do
    if row.say[l[1]] ~= "0" and row.say[l[1]] ~= "" then
      out[#out + 1] = l[2] .. row.say[l[1]]
    end
  end
  if spec.WhenMissing and row.say.WhenMissing ~= "Refuse" then
    out[#out + 1] = row.say.WhenMissing == "Wait" and "waits for its address" or "bound before its address is there"
  end
  return #out > 0 and table_concat(out, ", ") or "no limits"
end

local function limits_cell(row, prefix)
  if row.fixed and not row.limits then
    return "–"
  end
  local fields, open = {}, false
  for _, entry in ipairs { "MaxConnections", "MaxPerAddress", "Reserve", "Backlog", "WhenMissing" } do
    if spec[entry] and (row.new or listening.has(row, entry)) then
      fields[#fields + 1] = entry == "WhenMissing" and choice(row, prefix, entry, spec.WhenMissing.words)
        or text_field(row, prefix, entry, { maxlength = 8, inputmode = "numeric", class = "port" })
      open = open or faulty(row, entry)
    end
  end
  return h.details { class = "limits", open = open, h.summary { limits_said(row) }, fields }
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
    row.page and h.span { class = "hint block", h.a { href = c.site.prefix .. row.page, "change its port" } } }
end

local function row_cells(c, row, certificates)
  local prefix = row.new and row.name or "l." .. row.name
  local cells = { head_cell(c, row), port_cell(row, prefix), address_cell(row, prefix), tls_cell(row, prefix, certificates),
    row.fixed and from_sockets(row, function(s) return (tostring(s.services or ""):gsub(",", ", ")) end) or services_cell(row, prefix),
    admits_cell(row, prefix), limits_cell(row, prefix) }
  return html.map(COLUMNS, function(label, i)
    local make = i == 1 and h.th or h.td
    return make { scope = i == 1 and "row" or nil, class = "c" .. i, ["data-label"] = label, h.div { cells[i] } }
  end)
end

local function socket_line(s)
  return h.li { h.span { class = "bound", sockets.state(s) }, h.span { class = "why", "because of ", sockets.because(s.because) } }
end

local function sockets_row(row)
  local n = #row.sockets
  local lines = {}
  for i = 1, n < SHOWN and n or SHOWN do
    lines[i] = socket_line(row.sockets[i])
  end
  local active = row.active == 1 and "1 connection" or number(row.active) .. " connections"
  return h.tr { class = "sub", h.td { colspan = #COLUMNS, ["data-label"] = "Sockets", h.div {
    h.p { class = "hint", n == 1 and "1 socket" or number(n) .. " sockets", ", ", active, " open" },
    n > 0 and h.ul { class = "bound-list", lines } or nil,
    n > SHOWN and h.p { class = "hint", "and ", number(n - SHOWN), " more; ", h.code "portreeve plan", " shows all" } } } }
end

local function fault_row(faults)
  return h.tr { class = "fault", h.td { colspan = #COLUMNS, ["data-label"] = "", h.div { role = "alert",
    html.map(faults, function(text) return h.p { text } end) } } }
end

local function group(c, row, faults, certificates)
  row.faults = faults
  return h.tbody { class = faults and "bad" or row.new and "new" or nil, id = row.new and "new-" .. row.new or "listener-" .. row.name,
    faults and fault_row(faults), h.tr { row_cells(c, row, certificates) }, not row.new and sockets_row(row) or nil }
end

-- form: what listener_form gave.
local function table_of(c, form, certificates)
  local groups = {}
  for _, list in ipairs { form.rows, form.added } do
    for _, row in ipairs(list) do
      groups[#groups + 1] = group(c, row, form.faults[row.name], certificates)
    end
  end
  return h.div { class = "scroll", tabindex = "0", role = "region", ["aria-label"] = "Listeners",
    h.table { class = "stack listeners", h.caption { class = "unseen", "Listeners, their sockets, and the rule behind each" },
      h.thead { h.tr(html.map(COLUMNS, function(label, i) return h.th { scope = "col", class = "c" .. i, label } end)) }, groups } }
end

return { table_of = table_of }
