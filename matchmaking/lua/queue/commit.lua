-- Makes matches final: each takes all of its tickets out of the queue, or does not happen. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, epoch, matches (list of {match_id, region, tickets (list), teams (list of the same length),
--       backfill (a room, or "")...})}
-- Result  {status = "ok", made (list of matches), gone (list of tickets that wait no more)}, or "stale": another leads

if not leads(asked.region, asked.leader, asked.epoch) then
  return answer({status = 'stale', made = {}, gone = {}})
end
local made, gone = {}, {}

local function can_be(match)
  local is_whole = true
  for _, id in ipairs(match.tickets) do
    if not redis.call('ZSCORE', WAITING, id) then
      gone[#gone + 1] = id
      is_whole = false
    end
  end
  return is_whole and (match.backfill == '' or redis.call('HEXISTS', key('backfills'), match.backfill) == 1)
end

for _, match in ipairs(asked.matches) do
  if redis.call('HEXISTS', MATCHES, match.match_id) == 1 then
    made[#made + 1] = match.match_id  -- the same call again
  elseif can_be(match) then
    redis.call('ZREM', WAITING, unpack(match.tickets))
    if match.backfill ~= '' then
      redis.call('HDEL', key('backfills'), match.backfill)  -- the room says anew what it wants once they are there
    end
    redis.call('HSET', MATCHES, match.match_id, cmsgpack.pack(match))
    made[#made + 1] = match.match_id
  end
end
keep('matches')
return answer({status = 'ok', made = made, gone = gone})
