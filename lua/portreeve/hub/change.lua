--- From a filled-in form to a changed configuration, the same way for every page that does so: tried without changing anything (a dry run
-- through the whole gate), shown in words, asked for, and, where it could shut its own user out, asked for once more.
--
--   change.run(c, engine, job) -> response
-- job: title, action (path of the form), what (word for the audit trail), edits, words = { text … }, dangers = { text … },
--      refused(text) -> response: the form again with the gate's text; done: key of site.done; back: path to go to;
--      lost = addresses in use that stop working, or nil; opens = ways to other servers that the change makes, or nil;
--      applied(text, extra) -> response | nil: instead of going back (where the way back may be closed)
local html = require "portreeve.web.html"
local layout = require "portreeve.web.layout"
local static = require "portreeve.web.static"
local sys = require "portreeve.sys"
local ipairs, pairs, table_concat, table_sort, tostring = ipairs, pairs, table.concat, table.sort, tostring
local h = html.tag
local _ENV = nil

local own = { csrf = true, step = true, sure = true }

-- What was typed, carried along from page to page.
local function carried(c)
  local names, out = {}, {}
  for name in pairs(c.form) do
    if not own[name] then
      names[#names + 1] = name
    end
  end
  table_sort(names)
  for i, name in ipairs(names) do
    out[i] = h.input { type = "hidden", name = name, value = c.form[name] }
  end
  return out
end

-- Names this very change with these very consequences: another one has to be confirmed anew.
local function seal(c, job)
  local parts = { "sure", c.csrf or "" }
  for _, e in ipairs(job.edits) do
    parts[#parts + 1] = e.file .. "\1" .. e.entry .. "\1" .. tostring(e.value)
  end
  for _, text in ipairs(job.dangers) do
    parts[#parts + 1] = text
  end
  return static.hex(sys.sha256(table_concat(parts, "\0"))):sub(1, 32)
end

local function said(text, kind)
  return (text or ""):find("%S") and h.pre { class = kind and "said " .. kind or "said", tabindex = "0", text } or nil
end

local function danger_note(dangers, title)
  return #dangers > 0 and h.div { class = "note bad", role = "alert", h.h2 { title },
    h.ul(html.map(dangers, function(text) return h.li { text } end)) } or nil
end

local function asking(c, job, spec)
  return c.page { title = spec.title, body = h.section { class = "card ask",
    h.h1 { spec.title }, h.p { class = "lead", spec.lead }, spec.body,
    h.form { method = "post", action = job.action, layout.csrf_field(c), carried(c),
      h.input { type = "hidden", name = "step", value = "apply" },
      spec.sure and h.input { type = "hidden", name = "sure", value = spec.sure },
      h.div { class = "buttons", h.button { type = "submit", class = spec.sure and "main risk" or "main", spec.label },
        h.a { class = "button", href = job.back, spec.sure and "No, change nothing" or "Change nothing" } } } } }
end

-- Whom it shuts out a guard would not have it for: then its text begins with that (super/rehearse.c).
local function refused_by_guards(text)
  return text:match("^[^\n]*"):find("it would be refused: ", 1, true) ~= nil
end

local function preview(c, job, text)
  return asking(c, job, { title = "This would change", label = "Apply",
    lead = refused_by_guards(text) and "Nothing has been changed yet, and applied it would be refused for whom it shuts out."
      or "Nothing has been changed yet. The whole configuration was tried with it, and it is good.", body = {
      h.ul { class = "edits", html.map(job.words, function(w) return h.li { h.code { w } } end) },
      h.h2 "What it does to the sockets", said(text) or h.p { class = "hint", "No socket is opened or closed." },
      #(job.lost or {}) > 0 and h.div { class = "note warn", h.h2 "Addresses that nobody answers any more",
        h.ul(html.map(job.lost, function(w) return h.li { w } end)) } or nil,
      #(job.opens or {}) > 0 and h.div { class = "note warn", h.h2 "Ways to other servers",
        h.ul(html.map(job.opens, function(w) return h.li { w } end)) } or nil,
      danger_note(job.dangers, "You may shut yourself out") } })
end

local function confirm(c, job)
  return asking(c, job, { title = "Shut yourself out?",
    lead = "This change reaches the way by which you are here. Exactly this will happen:",
    label = "Yes, do it all the same", sure = seal(c, job), body = danger_note(job.dangers, "What happens to you") })
end

local function note(c, job, ok, text)
  local detail = table_concat(job.words, "; ")
  c.accounts:audit(c.account, c.req.address, job.what, (ok and "in force: " or "refused: ") .. detail:sub(1, 1500) .. (ok and "" or ": "
    .. text:sub(1, 500)))
  sys.log("notice", "hub", job.what .. " changed by " .. c.account .. ": " .. (ok and "in force" or "refused"))
end

local function warned(text)
  return ("\n" .. text):find("\nwarning: ", 1, true) ~= nil
end

-- Done, with something to be said: a redirect would lose it.
local function finished(c, job, text)
  return c.page { title = "Done", body = h.section { class = "card ask", h.h1 "Done", h.p { class = "lead", "The change is in force." },
    said(text), h.p { h.a { href = job.back, "Back" } } } }
end

local function run(c, engine, job)
  local ask = c.form.step ~= "apply"
  if not ask and #job.dangers > 0 and not sys.equal(c.form.sure or "", seal(c, job)) then
    return confirm(c, job)
  end
  local who = ("%s at %s, in the hub"):format(c.account, c.req.address)
  local ok, text = engine.edit(job.edits, { dry = ask, force = #job.dangers > 0, who = who })
  text = tostring(text or "")
  if ask and ok then
    return preview(c, job, text)
  elseif not ask then
    note(c, job, ok, text)
  end
  if not ok then
    return job.refused(text)
  end
  if #job.dangers > 0 then
    return job.applied(text)
  end
  return warned(text) and finished(c, job, text) or c.redirect(job.back .. "?done=" .. job.done)
end

return { run = run, said = said, danger_note = danger_note }
