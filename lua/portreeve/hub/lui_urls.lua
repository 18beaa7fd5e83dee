--- LUI Settings → URL Settings (M33–M40, M43): the addresses that people and mails are given, as default, for groups and for users.
local html = require "portreeve.web.html"
local form = require "portreeve.web.form"
local kinds = require "portreeve.kinds"
local layout = require "portreeve.web.layout"
local menu = require "portreeve.hub.menu"
local plain = require "portreeve.hub.plain"
local selftest = require "portreeve.hub.selftest"
local store = require "portreeve.db.urls"
local sys = require "portreeve.sys"
local urlcheck = require "portreeve.hub.urlcheck"
local urlrules = require "portreeve.hub.urlrules"
local ipairs, pairs, table_concat, table_sort = ipairs, pairs, table.concat, table.sort
local h = html.tag
local _ENV = nil

local URL_MOST = 500

local title_of = { default = "Default", group = "Group", user = "User" }

-- "the default", "group sales"
local function whose(at)
  return at.level == "default" and "the default" or at.level .. " " .. at.name
end

-- {level, name} of a request. A group is any name, a user an account. -> who | nil, why
local function who_of(fields)
  local level, name = fields.level or "default", kinds.trim(fields.name or "")
  if level == "default" then
    return { level = "default", name = "" }
  elseif not title_of[level] then
    return nil, "There is no such level."
  elseif #name > 64 or not name:find("^[%w._@-]+$") then
    return nil, "A name may hold letters, digits and . _ - @, at most 64 of them."
  end
  return { level = level, name = name }
end

local function here(c, who, more)
  local q = more or {}
  q.level, q.name = who.level ~= "default" and who.level or nil, who.level ~= "default" and who.name or nil
  return c.site.prefix .. "/lui/urls" .. form.query(q)
end

local function label_of(s, who)
  return who.level ~= "default" and s.short or s.label
end

-- What counts where nothing is set: said below each field.
local function origin(at, base)
  if not at then
    return { "Nothing is set, so it is ", h.code { base }, "." }
  end
  return { "Follows ", urlrules.by_key[at.key].label, " of ", whose(at), "." }
end

local function url_field(c, v, s)
  local id = "url-" .. s.key
  local set = urlrules.own(v.stored, s.key, v.who.level, v.who.name)
  local above, at = urlrules.resolve(v.stored, s.key, v.who.level, v.who.name, true)
  local base = urlcheck.built_in(v.status, v.conf, s)
  local fault = v.faults and v.faults[s.key]
  local warning = urlcheck.unbound(set or above or base, v.status, s.service)
  return h.div { class = "field", h.label { ["for"] = id, label_of(s, v.who) },
    h.input { id = id, name = s.key, type = "url", maxlength = URL_MOST, autocomplete = "off", spellcheck = "false",
      value = v.typed and v.typed[s.key] or set or "", placeholder = above or base, ["aria-describedby"] = id .. "-hint",
      ["aria-invalid"] = fault and "true" or nil },
    fault and h.p { class = "fault", role = "alert", fault },
    h.p { class = "hint", id = id .. "-hint", set and { layout.badge("good", "Set here"), " Cleared, it would be ",
      h.code { above or base }, "." } or { layout.badge("quiet", "Inherited"), " ", origin(at, base) } },
    warning and h.p { class = "warning", warning, "." } or nil }
end

local function settings_card(c, v)
  local title = title_of[v.who.level] .. (v.who.level == "default" and "" or " " .. v.who.name)
  return h.section { class = "card", id = "urls", h.h2 { title },
    h.form { method = "post", action = c.site.prefix .. "/lui/urls", novalidate = true, layout.csrf_field(c),
      h.input { type = "hidden", name = "level", value = v.who.level }, h.input { type = "hidden", name = "name", value = v.who.name },
      html.map(urlrules.at_level(v.who.level), function(s) return url_field(c, v, s) end),
      h.div { class = "buttons", h.button { type = "submit", class = "main", "Save" },
        v.who.level ~= "default" and h.a { class = "button", href = c.site.prefix .. "/lui/urls", "Back to the default" } } } }
end

local function group_card(c, v)
  if v.who.level ~= "user" then
    return nil
  end
  return h.section { class = "card", id = "group", h.h2 "Group of this user",
    h.form { method = "post", action = c.site.prefix .. "/lui/urls/group", layout.csrf_field(c),
      h.input { type = "hidden", name = "name", value = v.who.name },
      h.div { class = "field", h.label { ["for"] = "grp", "Group" }, h.input { id = "grp", name = "grp", type = "text", maxlength = 64,
        autocomplete = "off", autocapitalize = "none", spellcheck = "false", value = v.stored.group_of[v.who.name] or "" },
        h.p { class = "hint", "Empty: in no group. What is set for the group counts where the user has nothing of his own." } },
      h.button { type = "submit", "Save group" } } }
end

-- Every group and user that has something of its own, with what counts for each.
local function overrides_card(c, v)
  local seen, rows = {}, {}
  for _, r in ipairs(v.stored.rows) do
    local key = r.level .. "/" .. r.name
    if r.level ~= "default" and not seen[key] then
      seen[key] = true
      local said = {}
      for _, s in ipairs(urlrules.at_level(r.level)) do
        local url = urlrules.own(v.stored, s.key, r.level, r.name)
        said[#said + 1] = url and h.p { class = "pair", h.span { class = "hint", s.short or s.label }, " ", h.code { url } } or nil
      end
      rows[#rows + 1] = { h.a { href = here(c, r), title_of[r.level], " ", r.name }, said }
    end
  end
  return h.section { class = "card", id = "overrides", h.h2 "Groups and users",
    layout.data_table { caption = "Groups and users with addresses of their own", class = "plain", rows = rows,
      empty = "Nobody has addresses of his own: the default counts for all.", columns = { { label = "Who" }, { label = "Set" } } },
    h.form { method = "get", action = c.site.prefix .. "/lui/urls", class = "open-level",
      h.div { class = "cell-field", h.label { ["for"] = "level", "Level" }, h.select { id = "level", name = "level",
        h.option { value = "group", "Group" }, h.option { value = "user", "User" } } },
      h.div { class = "cell-field", h.label { ["for"] = "name", "Name" }, h.input { id = "name", name = "name", type = "text",
        required = true, maxlength = 64, autocomplete = "off", autocapitalize = "none", spellcheck = "false", list = "accounts" },
        h.datalist { id = "accounts", html.map(v.accounts, function(a) return h.option { value = a.name } end) } },
      h.button { type = "submit", "Open" } } }
end

local function test_card(c, v)
  local s = urlrules.by_key.tracking
  local url = urlrules.resolve(v.stored, "tracking", v.who.level, v.who.name) or urlcheck.built_in(v.status, v.conf, s)
  local r = v.result
  return h.section { class = "card", id = "selftest", h.h2 "Can the tracker be reached?",
    h.p { class = "hint", "Asks for a link of its own at ", h.code { url }, " and looks who answers. Nothing is recorded. It asks from ",
      "this machine: whether the way is open from outside as well, only a visitor from outside can say." },
    r and layout.note(r.ok and "good" or "bad", h.p { h.code { r.base }, ": ", r.text, " (", r.ms or 0, " ms)" }),
    layout.post_button(c, c.site.prefix .. "/lui/urls/test", "Test from here", { { "level", v.who.level }, { "name", v.who.name } }) }
end

local function words_card()
  return h.section { class = "card", id = "old-links", h.h2 "When a port changes",
    h.p { "Mails that have been sent keep the address they were sent with. Keep the old port open, by a listener of its own, for as long ",
      "as their links shall work." },
    h.p { class = "hint", "Links to the web interface carry no stored port here: every page answers with paths only, so none has to be ",
      "made again after a change." } }
end

local function page(c, engine, conf, v)
  local stored, why = store.new(c.accounts.db):all()
  local accounts, fault = c.accounts:names()
  if not stored or not accounts then
    return c.unavailable(why or fault)
  end
  v.stored, v.accounts, v.conf, v.status = stored, accounts, conf, plain.status(engine)
  return c.page({ title = "URL Settings", body = {
    h.div { class = "headline", h.div { h.p { class = "crumb", "LUI Settings" }, h.h1 "URL Settings" }, menu.tabs(c, menu.lui) },
    v.note, h.div { class = "columns", settings_card(c, v),
      h.div { group_card(c, v), overrides_card(c, v), test_card(c, v), words_card() } },
  } }, v.code)
end

local function show(engine, conf)
  return function(c)
    local who, why = who_of(c.query)
    if not who then
      return page(c, engine, conf, { who = { level = "default", name = "" }, note = layout.note("bad", h.p { why }), code = 422 })
    end
    return page(c, engine, conf, { who = who })
  end
end

-- -> urls { key = url | "" }, faults | nil
local function read(fields, who)
  local urls, faults, bad = {}, {}, false
  for _, s in ipairs(urlrules.at_level(who.level)) do
    local text = kinds.trim(fields[s.key] or "")
    local url, why = "", nil
    if text ~= "" then
      url, why = kinds.url(text)
    end
    if #text > URL_MOST then
      url, why = nil, "longer than " .. URL_MOST .. " characters"
    elseif url and url ~= "" then
      why = urlcheck.malformed(url)
      url = not why and url or nil
    end
    urls[s.key], faults[s.key] = url, why
    bad = bad or why ~= nil
  end
  return urls, bad and faults or nil
end

local function changed_words(stored, who, urls)
  local out = {}
  for key, url in pairs(urls) do
    local old = urlrules.own(stored, key, who.level, who.name) or ""
    if old ~= url then
      out[#out + 1] = key .. ": " .. (old == "" and "inherited" or old) .. " → " .. (url == "" and "inherited" or url)
    end
  end
  table_sort(out)
  return out
end

local function save(engine, conf)
  return function(c)
    local who, why = who_of(c.form)
    if not who then
      return c.problem(422, "Not saved", why)
    end
    local urls, faults = read(c.form, who)
    if faults then
      return page(c, engine, conf, { who = who, typed = c.form, faults = faults, code = 422,
        note = layout.note("bad", h.p "Nothing has been saved: look at the fields below.") })
    end
    local urlstore = store.new(c.accounts.db)
    local stored, fault = urlstore:all()
    local ok = stored and true
    if stored then
      ok, fault = urlstore:put(who.level, who.name, urls, c.account)
    end
    if not ok then
      return c.unavailable(fault)
    end
    local words = changed_words(stored, who, urls)
    if #words > 0 then
      c.accounts:audit(c.account, c.req.address, "url settings", (whose(who) .. ": " .. table_concat(words, "; ")):sub(1, 2000))
      sys.log("notice", "hub", "URL settings of " .. whose(who) .. " changed by " .. c.account)
    end
    return c.redirect(here(c, who, { done = "urls" }))
  end
end

local function save_group()
  return function(c)
    local who, why = who_of { level = "user", name = c.form.name }
    local group = kinds.trim(c.form.grp or "")
    local fine, fault = true, nil
    if group ~= "" then
      fine, fault = who_of { level = "group", name = group }
    end
    if not who or not fine then
      return c.problem(422, "Not saved", why or fault)
    end
    local ok, bad = store.new(c.accounts.db):put_group(who.name, group)
    if not ok then
      return c.unavailable(bad)
    end
    c.accounts:audit(c.account, c.req.address, "url settings", who.name .. " is in group " .. (group == "" and "none" or group))
    return c.redirect(here(c, who, { done = "urls" }))
  end
end

local function test(engine, conf)
  return function(c)
    local who, why = who_of(c.form)
    if not who then
      return c.problem(422, "Not tested", why)
    end
    local stored, fault = store.new(c.accounts.db):all()
    if not stored then
      return c.unavailable(fault)
    end
    local base = urlrules.resolve(stored, "tracking", who.level, who.name)
      or urlcheck.built_in(plain.status(engine), conf, urlrules.by_key.tracking)
    local result = selftest.ask(base)
    result.base = base
    return page(c, engine, conf, { who = who, result = result })
  end
end

return { show = show, save = save, save_group = save_group, test = test }
