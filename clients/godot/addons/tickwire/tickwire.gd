## The autoload [code]Tickwire[/code]: connects, and has the classes of the addon.
extends Node

const Client := preload("client.gd")
const AccountClient := preload("account_client.gd")
const Room := preload("room.gd")
const Reply := preload("reply.gd")
const OpenRoom := preload("open_room.gd")
const SessionFile := preload("session_file.gd")
const Interpolation := preload("play/interpolation.gd")
const TickClock := preload("play/tick_clock.gd")
const Prediction := preload("play/prediction.gd")
const EntityTracker := preload("play/entity_tracker.gd")
const World := preload("core/world.gd")
const WorldTable := preload("core/world_table.gd")
const ClientCore := preload("core/client_core.gd")
const SessionMachine := preload("session/session_machine.gd")
const Timestamp := preload("core/message_pack.gd").Timestamp

const _Errors := preload("session/errors.gd")
const ClientError := _Errors.ClientError
const Disconnected := _Errors.Disconnected
const ConnectFailed := _Errors.ConnectFailed
const Refused := _Errors.Refused
const NotMatched := _Errors.NotMatched
const CommandFailed := _Errors.CommandFailed
const SessionLost := _Errors.SessionLost
const MessageTooLarge := _Errors.MessageTooLarge
const TimedOut := _Errors.TimedOut
const ApiError := _Errors.ApiError
const ApiUnreachable := _Errors.ApiUnreachable
const NotLoggedIn := _Errors.NotLoggedIn

## Why the last [method connect_to_url] failed.
var last_error: _Errors.ClientError


## Opens a session. Returns the client, or null: then [member last_error] has the reason. The client is a child of this node. See
## Client.open for the [param options].
func connect_to_url(url: String, options := {}) -> Client:
	var client := Client.new()
	add_child(client)
	if await client.open(url, options):
		return client
	last_error = client.last_error
	client.queue_free()
	return null


## Returns the client of an account, a child of this node. See AccountClient for the [param options].
func open_account(api_url: String, options := {}) -> AccountClient:
	var account := AccountClient.new(api_url, options)
	add_child(account)
	return account
