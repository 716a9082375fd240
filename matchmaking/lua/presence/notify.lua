-- Sends a notice to the shard of a player.
-- KEYS  1 the slot
-- ARGV  2 {player_id, session_id, kind, text, forwards}
--       session_id: only if the player has this session; empty for any
--       forwards: how often the notice was sent to a shard that did not have the session any more
-- Result  {status, record (the record of the player, if there is one)}
--       status = "sent", "absent" (the player has no session, or another one), "full" (the inbox of the shard is full)

local found = get_record(request.player_id)
if not found or request.session_id ~= '' and found[SESSION] ~= request.session_id then
  return reply({status = 'absent', record = found})
end
local is_sent = push_notice(found[SHARD], request.kind, request.player_id, found[SESSION], request.text,
  request.forwards)
return reply({status = is_sent and 'sent' or 'full', record = found})
