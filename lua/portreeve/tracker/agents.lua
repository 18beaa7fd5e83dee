-- Who is calling, by its User-Agent: "human" (a mail client or browser), "proxy", "prefetch", "scanner", "bot", or "unknown".
-- The first row that fits decides. Plain text, small letters; what arrives is made small first.
local ipairs = ipairs
local find, lower, sub = string.find, string.lower, string.sub
local _ENV = nil

local LONGEST = 300 -- bytes that are looked at

-- Whole agents. Apple's Mail Privacy Protection fetches every picture soon after delivery, and says no more than this.
local exact = {
  ["mozilla/5.0"] = "prefetch",
}

local rows = {
  { "googleimageproxy", "proxy" },
  { "yahoomailproxy", "proxy" },
  { "ymail", "proxy" },
  { "cloudflare-cdn-imageproxy", "proxy" },
  { "duckduckgo-emailprotection", "proxy" },
  { "zohomailproxy", "proxy" },
  { "fastmail image proxy", "proxy" },

  { "googlebot", "bot" },
  { "bingpreview", "scanner" },
  { "barracuda", "scanner" },
  { "proofpoint", "scanner" },
  { "mimecast", "scanner" },
  { "safelinks", "scanner" },
  { "messagelabs", "scanner" },
  { "symantec", "scanner" },
  { "trendmicro", "scanner" },
  { "trend micro", "scanner" },
  { "fireeye", "scanner" },
  { "forcepoint", "scanner" },
  { "websense", "scanner" },
  { "sophos", "scanner" },
  { "zscaler", "scanner" },
  { "cisco-ironport", "scanner" },
  { "urlscan", "scanner" },
  { "virustotal", "scanner" },
  { "clamav", "scanner" },
  { "mailscanner", "scanner" },
  { "spamassassin", "scanner" },

  { "cubot ", "human" }, -- a maker of telephones
  { "bot/", "bot" },
  { "bot;", "bot" },
  { "bot)", "bot" },
  { "bot ", "bot" },
  { "crawler", "bot" },
  { "spider", "bot" },
  { "slurp", "bot" },
  { "facebookexternalhit", "bot" },
  { "whatsapp", "bot" },
  { "skypeuripreview", "bot" },
  { "linkpreview", "bot" },
  { "headlesschrome", "bot" },
  { "phantomjs", "bot" },
  { "puppeteer", "bot" },
  { "selenium", "bot" },
  { "curl/", "bot" },
  { "wget/", "bot" },
  { "python", "bot" },
  { "go-http-client", "bot" },
  { "java/", "bot" },
  { "libwww", "bot" },
  { "okhttp", "bot" },
  { "apache-httpclient", "bot" },
  { "node-fetch", "bot" },
  { "axios/", "bot" },
  { "ruby", "bot" },
  { "perl", "bot" },

  { "mozilla/", "human" },
  { "opera/", "human" },
  { "thunderbird", "human" },
  { "outlook", "human" },
  { "microsoft office", "human" },
  { "applemail", "human" },
  { "airmail", "human" },
  { "k-9", "human" },
  { "kmail", "human" },
  { "evolution", "human" },
  { "lotus-notes", "human" },
  { "emclient", "human" },
  { "dalvik/", "human" },
  { "cfnetwork", "human" },
}

local agents = { rows = rows }

function agents.class_of(agent)
  local text = lower(sub(agent, 1, LONGEST))
  local whole = exact[text]
  if whole then return whole end
  if sub(text, -3) == "bot" then return "bot" end
  for _, row in ipairs(rows) do
    if find(text, row[1], 1, true) then return row[2] end
  end
  return "unknown"
end

return agents
